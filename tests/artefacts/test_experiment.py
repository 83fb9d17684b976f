"""What determines a result is in its path, and nothing else is."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from dpmix.artefacts.base import digest
from dpmix.artefacts.data import SyntheticSet
from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.artefacts.releasable import objection
from dpmix.code import unrecorded
from dpmix.params.models import EncoderSpec, WideResNetSpec
from dpmix.params.specs import DatasetSpec, DiffusionSpec

DATASET = DatasetSpec(name="shapes", label="Shapes", source="folder", path="shapes", classes=4, train=200, test=40)

ENCODER = EncoderSpec(
    kind="encoder", name="eye", label="Eye", architecture="ViT-B-16", weights="openai", resolution=16
)  # fmt: skip

NETWORK = WideResNetSpec(kind="wide-resnet", name="net", label="Net", depth=10, width=1, groups=4, base_channels=8)

DIFFUSION = DiffusionSpec(
    name="brush", model="someone/brush", guidance_scale=7.5, steps=25, resolution=64, scheduler="DDIMScheduler"
)

SYNTHETIC = SyntheticSet(dataset=DATASET, size=100, diffusion=DIFFUSION, names_from=16)


def experiment(**changes: Any) -> Experiment:
    settings: dict[str, Any] = {
        "dataset": DATASET, "model": ENCODER, "method": "dp-mix-diff", "synthetic": SYNTHETIC, "epsilon": 2.0,
        "delta": 1e-5, "accountant": "rdp", "clip_norm": 1.0, "batch_size": 50, "epochs": 3, "learning_rate": 0.5,
        "k_base": 4, "k_self": 3, "k_diff": 2, "transforms": ("crop",), "padding": 1, "seed": 1,
    }  # fmt: skip
    return Experiment(**{**settings, **changes})


# Another value of every field, with what else must change for the two to fit together.
CHANGES: dict[str, dict[str, Any]] = {
    "semantics": {"semantics": 3},
    "dataset": {"dataset": DATASET.model_copy(update={"train": 201})},
    "model": {"model": ENCODER.model_copy(update={"weights": "laion2b"})},
    "method": {"method": "another"},
    "synthetic": {"synthetic": SYNTHETIC.model_copy(update={"size": 99})},
    "epsilon": {"epsilon": 2.5},
    "delta": {"delta": 1e-6},
    "accountant": {"accountant": "pld"},
    "clip_norm": {"clip_norm": 0.05},
    "clipping": {"clipping": "auto-s"},
    "precision": {"precision": "bfloat16", "model": NETWORK},
    "engine": {"engine": "jax", "model": NETWORK},
    "bands": {"bands": 2},
    "update": {"update": "model-mix", "model": NETWORK},
    "mix_width": {"mix_width": 0.3, "update": "model-mix", "model": NETWORK},
    "truncation": {"truncation": 4.0, "clipping": "coordinates"},
    "batches": {"batches": "fixed-order"},
    "calibration": {"calibration": "matched", "bands": 1},
    "batch_size": {"batch_size": 51},
    "unit": {"unit": "person", "dataset": DATASET.model_copy(update={"persons": 150})},
    "epochs": {"epochs": 4},
    "learning_rate": {"learning_rate": 0.25},
    "momentum": {"momentum": 0.9},
    "weight_decay": {"weight_decay": 1e-4},
    "ema_decay": {"ema_decay": 0.99},
    "k_base": {"k_base": 5},
    "k_self": {"k_self": 4},
    "k_diff": {"k_diff": 1},
    "mixup_alpha": {"mixup_alpha": 0.4},
    "mixup_pairs": {"mixup_pairs": "independent"},
    "mixing": {"mixing": "cutmix"},
    "transforms": {"transforms": ("flip",)},
    "padding": {"padding": 2},
    "augment_synthetic": {"augment_synthetic": False},
    "microbatch_size": {"microbatch_size": 2, "model": NETWORK, "k_self": 0, "k_diff": 0},
    "microbatch_mixup": {"microbatch_mixup": "alone", "microbatch_size": 2, "model": NETWORK, "k_self": 0, "k_diff": 0},
    "view_sets": {"view_sets": 2},
    "pretrain_epochs": {"pretrain_epochs": 1},
    "subset": {"subset": "S1"},
    "mix_with": {"mix_with": "S2", "subset": "S1"},
    "holdout": {"holdout": 0.1},
    "release": {"release": True},
    "seed": {"seed": 2},
}


def test_a_hash_never_changes_by_itself() -> None:
    """Pinned: were it to change, every result on every disk would be orphaned. On purpose: raise SEMANTICS.

    That of code which is not the recorded one is another (`dpmix.code`).
    """
    run = experiment()
    assert digest({"kind": "Experiment", **run.key()}) == "b485ab95ac"
    assert (run.hash == "b485ab95ac") == (not unrecorded(run.code()))
    assert run.path("demo") == Path(
        f"results/demo/runs/shapes/eye/dp-mix-diff/eps2-k4-3-2-seed1-{run.hash}/metrics.json"
    )


def test_every_field_of_an_experiment_is_covered_here() -> None:
    assert set(CHANGES) == set(Experiment.model_fields)


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_makes_another_path(field: str) -> None:
    changed = experiment(**CHANGES[field])
    others = {name: value for name, value in CHANGES[field].items() if name != field}
    assert changed.path("demo") != experiment(**others).path("demo")
    # A changed order, or a value written otherwise, is no change.
    fields = {name: getattr(changed, name) for name in reversed(list(Experiment.model_fields))}
    assert changed.path("demo") == Experiment(**fields).path("demo")


def test_a_whole_number_of_epochs_is_one_setting_however_it_is_written() -> None:
    assert experiment(epochs=2.0).hash == experiment(epochs=2).hash != experiment(epochs=2.5).hash
    assert isinstance(experiment(epochs=2.0).epochs, int)


def test_labels_are_for_people() -> None:
    renamed = experiment(
        dataset=DATASET.model_copy(update={"label": "Forms"}), model=ENCODER.model_copy(update={"label": "The eye"})
    )
    assert renamed.path("demo") == experiment().path("demo")


@given(
    st.lists(
        st.sampled_from(
            sorted(
                set(CHANGES)
                - {
                    "microbatch_size",
                    "microbatch_mixup",
                    "bands",
                    "batches",
                    "precision",
                    "engine",
                    "update",
                    "mix_width",
                    "unit",
                }
                - {"calibration"}
            )
        ),
        unique=True,
    )
)
def test_different_experiments_never_share_a_path(fields: list[str]) -> None:
    merged = {key: value for field in fields for key, value in CHANGES[field].items()}
    assume(not merged.get("release") or objection(merged) is None)  # a release takes not everything
    assert (experiment(**merged).hash == experiment().hash) == (not fields)


def test_the_hash_of_a_chosen_learning_rate_is_that_of_the_choice() -> None:
    tuning = experiment(learning_rate=None, holdout=0.25)
    choices = [Selection(experiment=tuning, learning_rates=rates) for rates in ((1.0, 2.0), (1.0, 4.0))]
    first, second = (experiment(learning_rate=choice) for choice in choices)
    assert first.hash != second.hash
    assert choices[0].path("demo") != choices[1].path("demo")
    assert choices[0] in first.inputs()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_run_with_another_seed_is_the_one_that_is_made_with_it(change: dict[str, Any]) -> None:
    run = experiment(**{**change, "seed": 1})
    other, made = run.with_seed(7), experiment(**{**change, "seed": 7})
    assert (other, other.key(), other.hash, other.stream()) == (made, made.key(), made.hash, made.stream())
    assert other.inputs() == made.inputs()
    assert other.file("demo") == made.path("demo").as_posix() != run.file("demo")
    assert other.file("paper").startswith("results/paper/")


def test_a_stream_is_what_heads_can_share() -> None:
    """The samples of its steps, on the same images and encoder; methods may differ in their views."""
    own = ("epsilon", "delta", "accountant", "clip_norm", "learning_rate", "momentum", "weight_decay")
    for field in (*own, "method", "k_base", "k_self", "k_diff", "transforms", "mixing", "clipping", "synthetic"):
        assert experiment(**CHANGES[field]).stream() == experiment().stream(), field
    for field in ("seed", "batch_size", "epochs", "holdout", "subset", "model", "batches", "ema_decay"):
        assert experiment(**CHANGES[field]).stream() != experiment().stream(), field
    # Features that are standardised by D depend on which D it is.
    model = ENCODER.model_copy(update={"standardize": "public"})
    assert experiment(model=model).stream() != experiment(model=model, **CHANGES["synthetic"]).stream()


def test_networks_from_scratch_share_no_stream() -> None:
    one, other = (experiment(model=NETWORK, synthetic=None, k_diff=0, epsilon=value) for value in (1.0, 2.0))
    assert one.stream() != other.stream()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k_base": 0, "k_diff": 0, "k_self": 2}, "S is empty, so there is nothing to mix"),
        ({"k_base": 1, "k_diff": 0, "k_self": 2}, "needs at least two members in S"),
        ({"batch_size": 201}, "batch_size 201 exceeds the 200 training images"),
        ({"batch_size": 151, "holdout": 0.25}, "exceeds the 150 images that the tuning run trains on"),
        ({"transforms": ("cropp",)}, "did you mean 'crop'?"),
        ({"synthetic": None}, "k_diff > 0 needs a synthetic set"),
        ({"k_diff": 101}, "k_diff 101 exceeds the 100 images"),
        (
            {
                "k_diff": 51,
                "subset": "S1",
                "synthetic": SYNTHETIC.model_copy(update={"size": 51}),
                "dataset": DATASET.model_copy(update={"train": 101}),
            },
            "exceeds the 50",
        ),
        ({"k_diff": 101, "mix_with": "S2", "synthetic": None}, "k_diff 101 exceeds the 100 images"),
        ({"mix_with": "S2"}, "mixes in the half that is not trained on; set subset: S1"),
        ({"microbatch_mixup": "added"}, "microbatch_mixup needs microbatch_size: 2"),
        ({"microbatch_size": 2}, "microbatches have no mixed views; set k_self and k_diff to 0"),
        ({"microbatch_size": 2, "k_self": 0, "k_diff": 0}, "microbatches are for models trained from scratch"),
        ({"precision": "float16"}, "a frozen encoder's is encoder_precision under bundle, so remove it"),
        ({"model": NETWORK, "pretrain_epochs": 1}, "pretrain_epochs is for encoders"),
        ({"epsilonn": 1}, "Extra inputs"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        experiment(**changes)
    assert words in str(caught.value)


def test_independent_pairs_may_come_from_one_member() -> None:
    assert experiment(k_base=1, k_diff=0, k_self=2, mixup_pairs="independent").views == 3


def test_a_run_without_noise_is_named_and_written_without_infinity() -> None:
    run = experiment(epsilon=math.inf)
    assert run.path("demo").name == "metrics.json"
    assert run.path("demo").parent.name.startswith("epsinf-k4-3-2-seed1-")
    assert run.plan().path("demo").name.startswith("n200-b50-e3-epsinf-")
    assert run.model_dump(mode="json")["epsilon"] == run.plan().model_dump(mode="json")["epsilon"] == "inf"
    assert run.plan().epsilon == math.inf
    assert Experiment.model_validate_json(run.model_dump_json()) == run
    assert experiment(epsilon=8.0).model_dump(mode="json")["epsilon"] == 8.0
