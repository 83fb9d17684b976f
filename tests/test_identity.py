"""Identity, over every field there is: what a path holds, what heads may share, and which layer of settings wins."""

import itertools
import math
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch

from dpmix.catalogue import Catalogue
from dpmix.experiment import (
    Artefact,
    DiffusionModel,
    Distance,
    EncoderModel,
    Experiment,
    GradientRecord,
    ImageStore,
    Selection,
    SyntheticStore,
    ZeroShot,
)
from dpmix.params import GivenImagesSpec, Settings, Spec, parse
from dpmix.privacy.plan import Plan
from dpmix.training.data import TrainingData, view_settings
from dpmix.training.head import Featurizer, Head, train_heads
from tests.test_experiment import CHANGES, DATASET, DIFFUSION, ENCODER, NETWORK, SYNTHETIC, experiment
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
    if isinstance(value, tuple):
        return (*value, value[0])
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


GIVEN = SYNTHETIC.model_copy(update={"diffusion": GivenImagesSpec(name="given", images="some.zip")})
OURS = ENCODER.model_copy(update={"weights": "public", "images": "some.zip"})
TUNING = experiment(learning_rate=None, holdout=0.25)
HEAD = {"epsilon", "delta", "accountant", "clip_norm", "learning_rate", "momentum", "weight_decay"}
# One of every kind, and what of it is no part of its identity beside labels and where class names are looked up.
EVERY: dict[str, tuple[Artefact, set[str]]] = {
    "store": (ImageStore(dataset=DATASET, resolution=16), set()),
    "drawn D": (SYNTHETIC, set()),
    "given D": (GIVEN, set()),
    "store of D": (SyntheticStore(synthetic=SYNTHETIC, resolution=16), set()),
    "diffusion": (DiffusionModel(name="brush", model="someone/brush"), set()),
    "encoder": (EncoderModel(encoder=ENCODER), {"encoder.kind", "encoder.resolution", "encoder.standardize"}),
    "encoder of ours": (EncoderModel(encoder=OURS), {"encoder.kind", "encoder.standardize"}),
    "plan": (experiment().plan(), set()),
    "run": (experiment(), set()),
    "run from scratch": (experiment(model=NETWORK, synthetic=None, k_diff=0), set()),
    "choice": (Selection(experiment=TUNING, learning_rates=(1.0, 2.0)), set()),
    "tuned run": (experiment(learning_rate=Selection(experiment=TUNING, learning_rates=(1.0, 2.0))), set()),
    "gradients": (GradientRecord(experiment=experiment()), set()),
    "zero-shot": (ZeroShot(dataset=DATASET, model=ENCODER, prompts=("a {}",)), {"model.standardize"}),
    "distance": (
        Distance(dataset=DATASET, extractor=ENCODER, first="train", second="test", synthetic=SYNTHETIC, resolution=16),
        set(),
    ),
    "distance of views": (
        Distance(dataset=DATASET, extractor=None, first="views", second="test", views=experiment(), resolution=16),
        {f"views.{name}" for name in HEAD},
    ),
}
PLACES = [
    pytest.param(artefact, changed, place not in free and place.split(".")[-1] not in ("label", "names_from"),
                 id=f"{what}: {place}")
    for what, (artefact, free) in EVERY.items()
    for place, changed in variants(artefact)
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize(("artefact", "changed", "matters"), PLACES)
def test_a_path_holds_every_value_that_determines_its_file(
    artefact: Artefact, changed: Artefact, matters: bool
) -> None:
    assert changed != artefact
    assert (changed.path("demo") != artefact.path("demo")) == matters


def test_every_kind_of_artefact_and_every_exception_is_among_these() -> None:
    assert {type(artefact) for artefact, _ in EVERY.values()} == set(Artefact.__subclasses__())
    for artefact, free in EVERY.values():
        assert free <= {place for place, _ in variants(artefact)}


# Streams --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", CHANGES)
def test_heads_of_a_stream_differ_in_what_is_a_heads_own_and_in_nothing_else(field: str) -> None:
    changed = experiment(**CHANGES[field])
    base = experiment(**{name: value for name, value in CHANGES[field].items() if name != field})
    assert (changed.stream() == base.stream()) == (field in HEAD)
    if field in HEAD:
        assert view_settings(changed) == view_settings(base)


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
        from dpmix.privacy.matrix_factorization import banded_plan

        values = run.plan().model_dump()
        plan = banded_plan(**values)
    heads = [Head(plan, rate, f"head {rate}") for rate in (0.5, 1.0)]
    (first, second) = train_heads(
        watched,  # type: ignore[arg-type]
        heads,
        TrainingData(private, as_images(draw(8, 2)), public, public),
        Featurizer(blocks),
    )
    assert not torch.equal(first.weights["weight"], second.weights["weight"])
    assert {"seed", "clipping", "ema_decay", "release"} <= watched.read
    assert not watched.read & HEAD


# Settings -------------------------------------------------------------------------------------------------------------


def raw(**demo: Any) -> dict[str, Any]:
    """Params with one data set of each kind, an encoder, a network and two methods; `demo` is laid over its scale."""
    dataset = {"label": "Shapes", "source": "folder", "path": "p", "classes": 4, "train": 200, "test": 40}
    track = {
        "delta": 1e-5, "accountant": "rdp", "clip_norm": 1, "batch_size": 50, "epochs": 3, "learning_rate": 0.5,
        "k_base": 4, "transforms": ["crop"], "padding": 1,
    }  # fmt: skip
    brush = DIFFUSION.model_dump(exclude={"name", "revision", "saved_resolution"})
    table = {
        "kind": "accuracy",
        "rows": [{"axis": "Method", "method": ["self"]}],
        "fixed": {"dataset": "shapes", "model": "eye", "epsilon": 2},
    }
    spec = {
        "synthetic": "brush", "seeds": [1, 2], "bundle": {"by": "model"}, "scratch": track, "finetune": track,
        "tuning": {"learning_rates": [1, 2], "holdout": 0.25, "seed": 9}, "tables": {"12": table}, "figures": {},
    }  # fmt: skip
    network = NETWORK.model_dump(exclude={"name"})
    return {
        "scale": "demo",
        "datasets": {"shapes": dataset, "others": {**dataset, "label": "Others"}},
        "models": {"eye": ENCODER.model_dump(exclude={"name"}), "second": ENCODER.model_dump(exclude={"name"})}
        | {"net": network, "wide": {**network, "width": 2}},
        "diffusion": {"brush": brush},
        "methods": {"self": {"label": "Self", "k_self": 3}, "mix": {"label": "Mix", "k_self": 3, "k_diff": 2}},
        "scales": {"demo": {**spec, **demo}},
    }


def made(settings: dict[str, Any], **demo: Any) -> Experiment:
    base = {"dataset": "shapes", "model": "eye", "method": "mix", "epsilon": 2.0}
    return Catalogue(parse(raw(**demo))).experiment(Settings(**{**base, **settings}), 1, "here")


# Another value of every setting, with what it goes together with.
CELLS: dict[str, dict[str, Any]] = {
    "dataset": {"dataset": "others"},
    "model": {"model": "second"},
    "method": {"method": "self"},
    "microbatch_size": {"microbatch_size": 2, "model": "net", "k_self": 0, "k_diff": 0},
    "microbatch_mixup": {"microbatch_mixup": "added", "microbatch_size": 2, "model": "net", "k_self": 0, "k_diff": 0},
    **{
        name: {name: value[name]}
        for name, value in CHANGES.items()
        if name in Settings.model_fields and name not in ("dataset", "model", "method") and "microbatch" not in name
    },
}


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - {"record_gradients"}))
def test_every_setting_of_a_cell_arrives_in_its_run(name: str) -> None:
    base = made({key: value for key, value in CELLS[name].items() if key != name})
    run = made(CELLS[name])
    value, before = getattr(run, name), getattr(base, name)
    if name in ("dataset", "model"):
        value, before = value.name, before.name
    assert value == CELLS[name][name]
    assert value != before
    assert run.path("demo") != base.path("demo")


NAMES = ("scale", "data set", "method", "method on data set", "table", "first row", "second row", "column")


def layered(count: int, model: str) -> Experiment:
    """The run of a cell in whose first `count` layers `weight_decay` is 0, 1, 2, …; the track is that of its model."""

    def decay(place: int) -> dict[str, Any]:
        return {"weight_decay": place} if place < count else {}

    params = raw()
    demo = params["scales"]["demo"]
    mine, other = ("finetune", "scratch") if model == "eye" else ("scratch", "finetune")
    demo[mine] = {**demo[mine], **decay(0)}
    demo[other] = {**demo[other], "weight_decay": 77}
    demo["datasets"] = {"shapes": decay(1), "others": {"weight_decay": 78}}
    params["methods"]["self"] |= decay(2)
    params["methods"]["mix"] |= {"weight_decay": 79}
    demo["dataset_methods"] = {
        "shapes": {"self": decay(3), "mix": {"weight_decay": 80}},
        "others": {"self": {"weight_decay": 81}},
    }
    demo["tables"]["1"] = {
        "kind": "accuracy",
        "rows": [
            {"axis": "Method", "values": {"a": {"method": "self", **decay(5)}}},
        ],
        "columns": [{"axis": "Microbatch size", "values": {"c": decay(7)}}],
        "fixed": {"dataset": "shapes", "model": model, "epsilon": 2, **decay(4)},
    }
    demo["tables"]["2"] = {
        **demo["tables"]["1"],
        "rows": [*demo["tables"]["1"]["rows"], {"axis": "More", "values": {"b": decay(6)}}],
    }
    ((cell,), (deep,)) = (Catalogue(parse(params)).cells(table) for table in ("1", "2"))
    first, second = (one.artefacts[0] for one in (cell, deep))
    assert isinstance(first, Experiment)
    assert isinstance(second, Experiment)
    if count != 7:  # the second row is the one thing that Table 1 lacks
        assert first.weight_decay == second.weight_decay
    return second


@pytest.mark.parametrize("model", ["eye", "net"])
@pytest.mark.parametrize("count", range(1, len(NAMES) + 1), ids=NAMES)
def test_the_later_layer_wins(count: int, model: str) -> None:
    assert layered(count, model).weight_decay == count - 1


def runs_of(table: dict[str, Any], **demo: Any) -> list[Experiment]:
    whole = raw()["scales"]["demo"]["tables"]["12"] | table
    catalogue = Catalogue(parse(raw(tables={"12": whole}, **demo)))
    return [one for cell in catalogue.cells("12") for one in cell.artefacts if isinstance(one, Experiment)]


def test_a_tables_own_seeds_are_its_own() -> None:
    assert [run.seed for run in runs_of({})] == [1, 2]
    assert [run.seed for run in runs_of({"seeds": [5, 3, 8]})] == [5, 3, 8]


def test_a_figure_has_its_own_seed() -> None:
    figures = {
        number: {"datasets": ["shapes"], "model": "eye", "methods": ["self"], "fixed": {"epsilon": 2}, "seed": 6}
        for number in ("1", "2")
    }
    catalogue = Catalogue(parse(raw(figures=figures)))
    (record,) = catalogue.targets["figure2"]
    assert isinstance(record, GradientRecord)
    assert record.experiment.seed == 6
    for number in ("1", "2"):
        (run,) = catalogue.figure_experiments(number).values()
        assert (run.seed, run.epsilon) == (6, 2)
    assert record.experiment == run


def test_a_rate_for_each_epsilon_is_that_of_the_epsilon() -> None:
    rates = {"learning_rate": {1: 0.1, 2: 0.2, math.inf: 0.3}}
    for epsilon, rate in rates["learning_rate"].items():
        assert made({**rates, "epsilon": epsilon}).learning_rate == rate


def test_a_tuned_rate_is_chosen_with_the_seed_and_the_share_of_tuning() -> None:
    (one, other) = runs_of({"fixed": {**raw()["scales"]["demo"]["tables"]["12"]["fixed"], "learning_rate": "tuned"}})
    assert isinstance(one.learning_rate, Selection)
    assert one.learning_rate == other.learning_rate
    tuning = one.learning_rate.experiment
    assert (tuning.seed, tuning.holdout, one.learning_rate.learning_rates) == (9, 0.25, (1, 2))
    plain = one.model_copy(update={"learning_rate": None, "holdout": 0.25, "seed": 9})
    assert tuning == plain


def test_d_is_as_large_as_the_training_set_unless_the_scale_says_otherwise() -> None:
    assert [made({}, synthetic_size=size).synthetic.size for size in ({}, {"shapes": 70})] == [200, 70]  # type: ignore[union-attr]


def test_distances_are_as_their_table_says() -> None:
    table = {"kind": "fid-views", "model": "eye", "datasets": ["shapes", "others"], "extractors": ["second"]}
    methods = {"Plain": {"method": "self", "k_self": 0}, "Mixed": {"method": "mix", "k_diff": 5}}
    sets = {**table, "kind": "fid-sets", "extractors": ["second", "inception"]}
    catalogue = Catalogue(parse(raw(tables={"7": {**table, "methods": methods, "samples": 30}, "8": sets})))
    found: dict[str, dict[tuple[str, ...], Distance]] = {"7": {}, "8": {}}
    for number, cells in found.items():
        for cell in catalogue.cells(number):
            (one,) = cell.artefacts
            assert isinstance(one, Distance)
            cells[(*cell.row, *cell.column)] = one
    names, splits = {"Shapes": "shapes", "Others": "others"}, ("Train", "Test")
    assert list(found["7"]) == list(itertools.product(names, splits, methods))
    for (label, split, method), one in found["7"].items():
        assert (one.first, one.second, one.samples) == ("views", split.lower(), 30)
        assert one.extractor is not None
        assert (one.dataset.name, one.extractor.name) == (names[label], "second")
        assert one.views is not None
        assert (one.views.dataset, one.views.seed) == (one.dataset, 1)
        expected = {"Plain": ("self", 0, 0), "Mixed": ("mix", 3, 5)}[method]
        assert (one.views.method, one.views.k_self, one.views.k_diff) == expected
    extractors, pairs = (
        {"Eye": "second", "InceptionV3": None},
        {"Train vs Test": "test", "Train vs Diffusion": "synthetic"},
    )
    assert list(found["8"]) == list(itertools.product(names, extractors, pairs))
    for (label, extractor, pair), one in found["8"].items():
        assert (one.first, one.second, one.samples, one.views) == ("train", pairs[pair], None, None)
        assert (one.dataset.name, one.extractor and one.extractor.name) == (names[label], extractors[extractor])
        assert one.synthetic is not None
        assert one.synthetic.dataset == one.dataset
