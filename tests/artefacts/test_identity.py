"""Identity, over every field there is: what a path holds, what heads may share, and what each is made from."""

import math
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import DiffusionModel, EncoderModel, ImageStore, InceptionWeights, SyntheticStore
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import CanaryAttack, Distance, ZeroShot
from dpmix.artefacts.published_privacy import PublishedPrivacy
from dpmix.models.features import Featurizer
from dpmix.params.declared import Spec
from dpmix.params.specs import GivenImagesSpec, InceptionSpec
from dpmix.privacy.plan import Plan
from dpmix.training.data import TrainingData
from dpmix.training.heads import Head, train_heads
from tests.artefacts.test_experiment import CHANGES, DATASET, DIFFUSION, ENCODER, NETWORK, SYNTHETIC, experiment
from tests.training.conftest import as_images, blocks, draw


# Paths ----------------------------------------------------------------------------------------------------------------
def another(value: Any, annotation: Any) -> Any:
    """A value of the same field that is not this one."""
    choices = [arg for part in (annotation, *get_args(annotation)) for arg in get_args(part) if isinstance(arg, str)]
    if len(choices) > 1 and not isinstance(value, tuple):
        return next(choice for choice in choices if choice != value)
    for sample in (ENCODER, SYNTHETIC, experiment()) if value is None else ():
        if type(sample) in get_args(annotation):
            return sample
    if value is None:
        return 7 if "int" in str(annotation) or "float" in str(annotation) else "another"
    if isinstance(value, bool):
        return not value
    if value == math.inf:
        return 1.0
    if isinstance(value, tuple):
        return (*value, value[0])
    if isinstance(value, float) and 0 < value < 1:  # a share, which must stay one
        return value / 2
    return f"{value}x" if isinstance(value, str) else value + 1


def variants(spec: Spec) -> Iterator[tuple[str, Any]]:
    """Copies that differ in one value, at any depth, by the place of that value."""
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        if isinstance(value, Spec):
            inner = ((f"{name}.{place}", changed) for place, changed in variants(value))
        else:
            inner = iter([(name, another(value, field.annotation))])
        for place, changed in inner:
            yield place, spec.model_copy(update={name: changed})


SYNTHETIC_PLACES = {f"synthetic.{place}" for place, _ in variants(SYNTHETIC)}

GIVEN = SYNTHETIC.model_copy(update={"diffusion": GivenImagesSpec(name="given", images="some.zip")})

OURS = ENCODER.model_copy(update={"weights": "public", "images": "some.zip"})

TUNING = experiment(learning_rate=None, holdout=0.25)

PUBLISHED = PublishedPrivacy(
    population=100, batch_size=10, epochs=2, epsilon=1, delta=1e-3, rate="sizes", batches="poisson", microbatches=False
)

HEAD = {"epsilon", "delta", "accountant", "clip_norm", "learning_rate", "momentum", "weight_decay"}

# What is a method's own: heads of one stream may differ in it, and take other views out of those that pass.
METHOD = {
    "method", "k_base", "k_self", "k_diff", "mixup_alpha", "mixup_pairs", "mixing", "transforms", "padding",
    "augment_synthetic", "clipping", "truncation", "pretrain_epochs", "mix_with", "synthetic",
}  # fmt: skip

ATTACK = CanaryAttack(
    epsilon=8, delta=1e-5, noise_multiplier=0.4, sampling_rate=0.03, steps=200, width=11.0, truncation=100, runs=50
)

# What is no part of anything's identity: words for people, where D's class names are looked up, whose D is shared, how
# many images are drawn at a time, where an encoder lies whose content is, and where a file is fetched.
NOWHERE = ("label", "names_from", "parent", "mirrors", "diffusion.batch_size", "folder", "inception.url")

ENCODER_FREE = {"kind", "resolution", "standardize"}

VIEWS = {
    "k_base", "k_self", "k_diff", "mixup_alpha", "mixup_pairs", "mixing", "transforms", "padding", "augment_synthetic",
}  # fmt: skip

# What matters to ModelMix alone.
MODEL_MIX = ("mix_width", "truncation")

# One of every kind, and what else is no part of its identity.
EVERY: dict[str, tuple[Artefact, set[str]]] = {
    "store": (ImageStore(dataset=DATASET, resolution=16), set()),
    "drawn D": (SYNTHETIC, set()),
    "given D": (GIVEN, set()),
    "store of D": (SyntheticStore(synthetic=SYNTHETIC, resolution=16), set()),
    "diffusion": (DiffusionModel(name="brush", model="someone/brush"), set()),
    "encoder": (EncoderModel(encoder=ENCODER), {f"encoder.{name}" for name in ENCODER_FREE}),
    "inception": (InceptionWeights(inception=InceptionSpec()), set()),
    "encoder of ours": (EncoderModel(encoder=OURS), {"encoder.kind", "encoder.standardize"}),
    "plan": (experiment().plan(), set()),
    "run": (experiment(), set()),
    "run from scratch": (
        experiment(model=NETWORK, synthetic=None, k_diff=0), {"synthetic", "augment_synthetic", "mix_with"},
    ),
    "run without mixtures": (
        experiment(model=NETWORK, k_diff=0, k_self=0),
        {"augment_synthetic", "mix_with", "mixup_alpha", "mixup_pairs", "mixing", *SYNTHETIC_PLACES},
    ),
    "run of microbatches": (
        experiment(model=NETWORK, synthetic=None, k_diff=0, k_self=0, microbatch_size=2),
        {"synthetic", "augment_synthetic", "mix_with", "mixup_alpha", "mixup_pairs", "mixing"},
    ),
    "run of mixed microbatches": (
        experiment(
            model=NETWORK, synthetic=None, k_diff=0, k_self=0, microbatch_size=2, microbatch_mixup="added",
            transforms=("flip",),
        ),
        {"synthetic", "augment_synthetic", "mix_with", "mixup_pairs", "padding"},
    ),
    "run of ModelMix": (
        experiment(model=NETWORK, synthetic=None, k_diff=0, update="model-mix", clipping="coordinates"),
        {"synthetic", "augment_synthetic", "mix_with"},
    ),
    "run without noise": (experiment(epsilon=math.inf), {"delta", "accountant"}),
    "choice": (Selection(experiment=TUNING, learning_rates=(1.0, 2.0)), set()),
    "tuned run": (experiment(learning_rate=Selection(experiment=TUNING, learning_rates=(1.0, 2.0))), set()),
    "gradients": (GradientRecord(experiment=experiment()), set()),
    "zero-shot": (ZeroShot(dataset=DATASET, model=ENCODER, prompts=("a {}",)), {"model.standardize"}),
    "published ε": (PUBLISHED, set()),
    "attack": (ATTACK, set()),
    "distance": (
        Distance(dataset=DATASET, extractor=ENCODER, first="train", second="test", synthetic=SYNTHETIC, resolution=16),
        {f"extractor.{name}" for name in ENCODER_FREE} | SYNTHETIC_PLACES | {"inception.sha256"},
    ),
    "distance of D": (
        Distance(
            dataset=DATASET, extractor=None, first="train", second="synthetic", synthetic=SYNTHETIC, resolution=16
        ),
        set(),
    ),
    "distance of views": (
        Distance(
            dataset=DATASET, extractor=None, first="views", second="test", views=experiment(), synthetic=SYNTHETIC,
            resolution=16,
        ),
        {f"views.{place}" for place, _ in variants(experiment()) if place not in VIEWS | {"method"}},
    ),
}  # fmt: skip


def can_be(artefact: Artefact) -> bool:
    """Whether the views of the experiments in it fit together, as they do wherever an experiment is made."""
    inside = (getattr(artefact, name) for name in type(artefact).model_fields)
    try:
        return all(map(can_be, (one for one in inside if isinstance(one, Artefact)))) and (
            not isinstance(artefact, Experiment) or artefact.view_settings.views > 0
        )
    except ValueError:
        return False


PLACES = [
    pytest.param(
        artefact,
        changed,
        place not in free
        and not place.endswith(NOWHERE)
        and not (place.endswith(MODEL_MIX) and what not in ("plan", "run of ModelMix", "attack")),
        id=f"{what}: {place}",
    )
    for what, (artefact, free) in EVERY.items()
    for place, changed in variants(artefact)
    if can_be(changed)
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize(("artefact", "changed", "matters"), PLACES)
def test_a_path_holds_every_value_that_determines_its_file(
    artefact: Artefact, changed: Artefact, matters: bool
) -> None:
    assert changed != artefact
    assert (changed.path("demo") != artefact.path("demo")) == matters


def kinds() -> set[type[Artefact]]:
    """Those of the pipeline; other tests may add kinds of their own."""
    return {kind for kind in Artefact.__subclasses__() if kind.__module__.startswith("dpmix.")}


def test_every_kind_of_artefact_and_every_exception_is_among_these() -> None:
    assert {type(artefact) for artefact, _ in EVERY.values()} == kinds()
    for artefact, free in EVERY.values():
        assert free <= {place for place, _ in variants(artefact)}
    # Every field of a run is changed in one that can be.
    runs = {str(one.id).partition(": ")[2] for one in PLACES if isinstance(one.values[0], Experiment)}
    assert set(Experiment.model_fields) <= {place.partition(".")[0] for place in runs}


# Streams --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("field", CHANGES)
def test_heads_of_a_stream_differ_in_what_is_a_heads_own_and_in_nothing_else(field: str) -> None:
    changed = experiment(**CHANGES[field])
    base = experiment(**{name: value for name, value in CHANGES[field].items() if name != field})
    assert (changed.stream() == base.stream()) == (field in HEAD | METHOD)
    if field in HEAD:
        assert changed.wanted_views() == base.wanted_views()


class Watched:
    """An experiment that notes what is read of it."""

    def __init__(self, inner: Experiment) -> None:
        self.inner, self.read = inner, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self.inner, name)


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.5}, {"pretrain_epochs": 1}, {"bands": 2}, {"release": True}])
def test_of_the_run_whose_stream_it_is_training_reads_nothing_that_is_a_heads_own(changes: dict[str, Any]) -> None:
    """Else the heads of a stream would share the first one's ε, rate, or decay."""
    run = experiment(
        dataset=DATASET.model_copy(update={"train": 24, "test": 8}), batch_size=6, epochs=1, padding=0, **changes
    )
    watched = Watched(run)
    private, public = as_images(draw(24, 0)), as_images(draw(12, 1))
    plan: Any = Plan.make(
        population=24, batch_size=6, epochs=1, clip_norm=1.0, noise_multiplier=1.0, delta=1e-5, accountant="rdp"
    )
    if run.bands > 1:
        plan = run.plan().calibrated()
    # Models for release are no heads of one stream.
    heads = [Head(plan, rate, f"head {rate}") for rate in ((0.5,) if run.release else (0.5, 1.0))]
    trained = train_heads(
        watched,  # type: ignore[arg-type]
        heads,
        TrainingData(private, as_images(draw(8, 2)), public, public),
        Featurizer(blocks),
    )
    assert len(trained) == len({one.weights["weight"].numpy().tobytes() for one in trained}) == len(heads)
    assert {"seed", "clipping", "ema_decay", "release"} <= watched.read
    assert not watched.read & HEAD


# Inputs ---------------------------------------------------------------------------------------------------------------
STORE, D_STORE = ImageStore(dataset=DATASET, resolution=16), SyntheticStore(synthetic=SYNTHETIC, resolution=16)

EYE = EncoderModel(encoder=ENCODER)

INCEPTION = InceptionWeights(inception=InceptionSpec())

CHOICE = Selection(experiment=TUNING, learning_rates=(1.0, 2.0))

PAIR: dict[str, Any] = {"dataset": DATASET, "resolution": 16, "first": "train", "second": "test"}

OF_VIEWS = {**PAIR, "first": "views"}

WITHOUT_D = experiment(synthetic=None, k_diff=0)

# What each is made from: exactly what its step reads.
INPUTS: dict[str, tuple[Artefact, set[Artefact]]] = {
    "store": (STORE, set()),
    "encoder": (EYE, set()),
    "inception": (INCEPTION, set()),
    "plan": (experiment().plan(), set()),
    "diffusion": (DiffusionModel(name="brush", model="someone/brush"), set()),
    "drawn D": (SYNTHETIC, {STORE, DiffusionModel(name="brush", model="someone/brush")}),
    "drawn D of a revision": (
        SYNTHETIC.model_copy(update={"diffusion": DIFFUSION.model_copy(update={"revision": "abc"})}),
        {STORE, DiffusionModel(name="brush", model="someone/brush", revision="abc")},
    ),
    "D with names from elsewhere": (
        SYNTHETIC.model_copy(update={"names_from": 32}),
        {ImageStore(dataset=DATASET, resolution=32), DiffusionModel(name="brush", model="someone/brush")},
    ),
    "given D": (GIVEN, {STORE}),
    "store of D": (D_STORE, {SYNTHETIC, STORE}),
    "run": (experiment(), {STORE, EYE, D_STORE, experiment().plan()}),
    "run without D": (WITHOUT_D, {STORE, EYE, WITHOUT_D.plan()}),
    "run from scratch": (
        experiment(model=NETWORK, synthetic=None, k_diff=0),
        {ImageStore(dataset=DATASET, resolution=NETWORK.resolution), experiment().plan()},
    ),
    "tuned run": (experiment(learning_rate=CHOICE), {STORE, EYE, D_STORE, experiment().plan(), CHOICE}),
    "choice": (CHOICE, {STORE, EYE, D_STORE, TUNING.plan()}),
    "gradients": (GradientRecord(experiment=experiment()), {STORE, EYE, D_STORE, experiment().plan()}),
    "zero-shot": (ZeroShot(dataset=DATASET, model=ENCODER, prompts=("a {}",)), {STORE, EYE}),
    "published ε": (PUBLISHED, set()),
    "attack": (ATTACK, set()),
    "distance of splits": (Distance(**PAIR, extractor=ENCODER, synthetic=SYNTHETIC), {STORE, EYE}),
    "distance by Inception": (Distance(**PAIR, extractor=None, synthetic=SYNTHETIC), {STORE, INCEPTION}),
    "distance from D": (
        Distance(**{**PAIR, "second": "synthetic"}, extractor=ENCODER, synthetic=SYNTHETIC),
        {STORE, EYE, D_STORE},
    ),
    "distance of D": (
        Distance(**{**PAIR, "first": "synthetic"}, extractor=ENCODER, synthetic=SYNTHETIC),
        {STORE, EYE, D_STORE},
    ),
    "distance of views with D": (
        Distance(**OF_VIEWS, extractor=ENCODER, synthetic=SYNTHETIC, views=experiment()),
        {STORE, EYE, D_STORE},
    ),
    "distance of views without": (
        Distance(**OF_VIEWS, extractor=ENCODER, synthetic=SYNTHETIC, views=experiment(k_diff=0)),
        {STORE, EYE},
    ),
}


@pytest.mark.parametrize("what", INPUTS)
def test_what_each_is_made_from(what: str) -> None:
    artefact, expected = INPUTS[what]
    inputs = artefact.inputs()
    assert len(inputs) == len(expected)
    assert {one.path("demo") for one in inputs} == {one.path("demo") for one in expected}


def test_inputs_are_known_of_every_kind() -> None:
    assert {type(artefact) for artefact, _ in INPUTS.values()} == kinds()


def test_a_plan_has_the_runs_own_numbers() -> None:
    run = experiment(epsilon=3.0, delta=1e-6, accountant="pld", clip_norm=0.5, batch_size=20, epochs=7, bands=2)
    plan = run.plan()
    assert plan.population == 200
    for name in set(type(plan).model_fields) - {"population"}:
        assert getattr(plan, name) == getattr(run, name)
    assert experiment(**CHANGES["microbatch_size"]).plan().microbatch_size == 2
