"""Whether the settings of an experiment fit together: one check for each reason why not, in the order of `CHECKS`.

Each takes the experiment and returns None, or the end of an error message that says what to set instead.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from dpmix.artefacts import jax_engine
from dpmix.artefacts.releasable import objection
from dpmix.errors import suggestion
from dpmix.views.transforms import TRANSFORMS

if TYPE_CHECKING:
    from dpmix.artefacts.experiment import Experiment


def unfit(run: "Experiment") -> str | None:
    """The first reason why the settings of a run do not fit together, with a remedy; None if they do."""
    return next((why for check in CHECKS if (why := check(run))), None)


def _views(run: "Experiment") -> str | None:
    try:
        _ = run.view_settings
    except ValueError as error:
        return str(error)
    return None


def _published_number(run: "Experiment") -> str | None:
    if (run.dataset.train if run.unit == "image" else run.dataset.persons) is not None:
        return None
    size, other = ("train", "person") if run.unit == "image" else ("persons", "image")
    return (
        f"unit: {run.unit} samples from a published number of {run.unit}s; give it as {size} of the data set, or set "
        f"unit: {other}"
    )


def _all_persons_one_by_one(run: "Experiment") -> str | None:
    if run.unit != "person" or (run.subset, run.microbatch_size) == ("all", 1):
        return None
    return "unit: person trains on all persons, one by one; set subset: all and microbatch_size: 1, or unit: image"


def _batch_in_population(run: "Experiment") -> str | None:
    if run.batch_size <= run.population:
        return None
    of = f"{run.unit}s that the tuning run trains on" if run.holdout else f"training {run.unit}s"
    return f"batch_size {run.batch_size} exceeds the {run.population} {of}; lower it"


def _bands_without_microbatches(run: "Experiment") -> str | None:
    if run.bands > 1 and run.microbatch_size > 1:
        return "banded noise is not accounted for with microbatches; set bands: 1"
    return None


def _fixed_order_is_plain(run: "Experiment") -> str | None:
    plain = run.bands == 1 and run.microbatch_size == 1 and run.update == "sgd"
    if run.batches != "fixed-order":
        return None
    if run.epochs != int(run.epochs):
        return f"batches in a fixed order take whole epochs, not {run.epochs:g}; give a whole number"
    if plain:
        return None
    return (
        "batches in a fixed order are accounted for plain DP-SGD alone; set bands and microbatch_size to 1, and update "
        "to sgd"
    )


def _batch_in_band(run: "Experiment") -> str | None:
    if run.bands * run.batch_size <= run.population:
        return None
    return (
        f"{run.bands} bands sample from {run.population // run.bands} {run.unit}s at a time, fewer than batch_size "
        f"{run.batch_size}; lower one of them"
    )


def _model_mix_from_scratch(run: "Experiment") -> str | None:
    if run.update != "model-mix" or not run.model.frozen:
        return None
    return (
        f"update: model-mix is for networks trained from scratch, and {run.model.name} is a frozen encoder; set "
        "update: sgd, or another model"
    )


def _model_mix_of_single_examples(run: "Experiment") -> str | None:
    if run.update != "model-mix" or (run.bands, run.microbatch_size) == (1, 1):
        return None
    return (
        "update: model-mix is accounted for with independent noise and single examples alone; set bands: 1 and "
        "microbatch_size: 1, or update: sgd"
    )


def _calibration_by_accountant(run: "Experiment") -> str | None:
    if run.calibration == "accountant" and run.update != "model-mix":
        return "calibration: accountant is for update: model-mix, as there is no other bound; remove it"
    return None


def _calibration_matched(run: "Experiment") -> str | None:
    plain = (run.update, run.bands, run.microbatch_size, run.batches) == ("sgd", 1, 1, "poisson")
    if run.calibration != "matched" or (plain and run.epsilon != math.inf):
        return None
    return (
        "calibration: matched is for update: sgd with a finite epsilon, bands: 1, batches: poisson and "
        "microbatch_size: 1; set these, or remove it"
    )


def _transforms_are_known(run: "Experiment") -> str | None:
    for name in run.transforms:
        if name not in TRANSFORMS:
            return f"unknown transform {name!r}; {suggestion(name, sorted(TRANSFORMS))}"
    return None


def _synthetic_set_is_named(run: "Experiment") -> str | None:
    if run.mixes_in_synthetic and run.synthetic is None:
        return "k_diff > 0 needs a synthetic set; name one: synthetic, under the scale"
    return None


def _enough_to_mix_in(run: "Experiment") -> str | None:
    pool = run.dataset.records // 2 if run.mix_with == "S2" else run.synthetic_size
    if run.k_diff > pool:
        return f"k_diff {run.k_diff} exceeds the {pool} images to draw from; lower it"
    return None


def _other_half_is_not_trained_on(run: "Experiment") -> str | None:
    if run.k_diff and run.mix_with == "S2" and run.subset != "S1":
        return "mix_with: S2 mixes in the half that is not trained on; set subset: S1"
    return None


def _microbatches_from_scratch(run: "Experiment") -> str | None:
    if run.model.frozen and run.microbatch_size > 1:
        return "microbatches are for models trained from scratch; remove microbatch_size"
    return None


def _view_sets_of_examples(run: "Experiment") -> str | None:
    if run.view_sets and run.microbatch_size > 1:
        return "view_sets are of single examples; set microbatch_size: 1, or view_sets: 0 for new views in each step"
    return None


def _precision_from_scratch(run: "Experiment") -> str | None:
    if not run.model.frozen or run.precision == "float32":
        return None
    return (
        "precision is for models trained from scratch; a frozen encoder's is encoder_precision under bundle, so remove "
        "it"
    )


def _jax_can_do_it(run: "Experiment") -> str | None:
    if run.engine == "jax" and (why := jax_engine.objection(run.model, run)):
        return f"engine: jax {why}"
    return None


def _rate_from_scratch_is_given(run: "Experiment") -> str | None:
    if run.model.frozen or run.learning_rate is None or isinstance(run.learning_rate, float | int):
        return None
    return (
        "the learning rate of a network trained from scratch is not tuned; give learning_rate as a number, or one for "
        "each ε"
    )


def _may_be_released(run: "Experiment") -> str | None:
    if run.release and (why := objection({name: getattr(run, name) for name in type(run).model_fields})):
        return f"release: {why}"
    return None


def _pretraining_of_heads(run: "Experiment") -> str | None:
    if not run.model.frozen and run.pretrain_epochs:
        return "pretrain_epochs is for encoders with a linear head; remove it"
    return None


CHECKS: tuple[Callable[["Experiment"], str | None], ...] = (
    _views,
    _published_number,
    _all_persons_one_by_one,
    _batch_in_population,
    _bands_without_microbatches,
    _fixed_order_is_plain,
    _batch_in_band,
    _model_mix_from_scratch,
    _model_mix_of_single_examples,
    _calibration_by_accountant,
    _calibration_matched,
    _transforms_are_known,
    _synthetic_set_is_named,
    _enough_to_mix_in,
    _other_half_is_not_trained_on,
    _microbatches_from_scratch,
    _view_sets_of_examples,
    _precision_from_scratch,
    _jax_can_do_it,
    _rate_from_scratch_is_given,
    _may_be_released,
    _pretraining_of_heads,
)
"""In the order in which reasons are told: later ones rely on earlier ones."""
