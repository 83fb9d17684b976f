"""Which layer of settings wins, what arrives in a run, and what is shown when a word or a number changes."""

import itertools
import math
from typing import Any

import pytest

from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import Distance
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.params.read import parse
from dpmix.params.settings import Settings
from tests.artefacts.test_experiment import CHANGES, DIFFUSION, ENCODER, NETWORK


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
        "datasets": {"shapes": dataset, "others": {**dataset, "label": "Others", "persons": 60}},
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
    "precision": {"precision": "bfloat16", "model": "net"},
    "engine": {"engine": "jax", "model": "net"},
    "mix_with": {"mix_with": "S2", "subset": "S1"},
    "unit": {"unit": "person", "dataset": "others"},
    "microbatch_size": {"microbatch_size": 2, "model": "net", "k_self": 0, "k_diff": 0},
    "update": {"update": "model-mix", "model": "net", "k_diff": 0},
    "truncation": {"truncation": 4.0, "clipping": "coordinates"},
    "mix_width": {"mix_width": 0.3, "update": "model-mix", "model": "net", "k_diff": 0},
    "microbatch_mixup": {"microbatch_mixup": "added", "microbatch_size": 2, "model": "net", "k_self": 0, "k_diff": 0},
    **{
        name: {name: value[name]}
        for name, value in CHANGES.items()
        if name in Settings.model_fields
        and name
        not in (
            *("dataset", "model", "method", "precision", "engine", "mix_with", "unit", "update", "mix_width"),
            "truncation",
        )
        and "microbatch" not in name
    },
}


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
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
    rates = {1: 0.1, 2: 0.2, math.inf: 0.3}
    for epsilon, rate in rates.items():
        assert made({"learning_rate": rates, "epsilon": epsilon}).learning_rate == rate


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


# Stamps ---------------------------------------------------------------------------------------------------------------
def shown(**changes: Any) -> dict[str, str]:
    """The fingerprints of a table with a ladder, of both figures and of the report, by target."""
    params = raw()
    demo, ladder = params["scales"]["demo"], changes.get("end", {"method": "mix", "k_diff": 0})
    demo["prompts"] = changes.get("prompts", ["a photo of a {}"])
    params["models"]["eye"]["architecture"] = changes.get("eye", params["models"]["eye"]["architecture"])
    params["methods"]["mix"]["label"] = changes.get("ladder", "Mix")
    params["methods"]["self"]["label"] = changes.get("method", "Self")
    params["datasets"]["shapes"]["label"] = changes.get("dataset", "Shapes")
    demo["tables"] = {
        "4": {
            "kind": "accuracy",
            "rows": [{"axis": "Dataset", "dataset": changes.get("rows", ["shapes", "others"])}],
            "columns": [{"axis": "Augmentation", "values": changes.get("columns", {"None": {"transforms": []}})}],
            "fixed": {"method": "self", "model": "eye", "epsilon": 2},
            "ladder": ladder,
        }
    }
    figure = {"datasets": ["shapes"], "model": "eye", "methods": ["self"], "fixed": {"epsilon": 2}}
    demo["figures"] = {"1": {**figure, **changes.get("1", {})}, "2": {**figure, **changes.get("2", {})}}
    catalogue = Catalogue(parse(params))
    return {target: catalogue.fingerprint(target) for target in (*catalogue.targets, "report")}


@pytest.mark.parametrize(
    ("changes", "touched"),
    [
        ({"dataset": "Forms"}, {"table4", "figure1", "figure2"}),
        ({"method": "Another"}, {"figure1", "figure2"}),
        ({"ladder": "Another"}, {"table4"}),
        ({"rows": ["others", "shapes"]}, {"table4"}),
        ({"columns": {"Nothing": {"transforms": []}}}, {"table4"}),
        ({"columns": {"None": {"transforms": ["flip"]}}}, {"table4"}),
        ({"1": {"example": 5}}, {"figure1"}),
        ({"1": {"fixed": {"epsilon": 2, "k_self": 2}}}, {"figure1"}),
        ({"2": {"fixed": {"epsilon": 3}}}, {"figure2"}),
        ({"2": {"methods": ["mix", "self"]}}, {"figure2"}),
        ({"2": {"seed": 4}}, {"figure2"}),
    ],
)
def test_whatever_is_shown_is_in_the_stamp(changes: dict[str, Any], touched: set[str]) -> None:
    before, after = shown(), shown(**changes)
    assert before == shown()
    assert set(before) == {"table4", "figure1", "figure2", "report"}
    assert {target for target in before if before[target] != after[target]} == touched | {"report"}


# Refusals -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("demo", "words"),
    [
        (
            {"figures": {"2": {"datasets": ["shapes"], "model": "eye", "methods": ["self"],
                               "fixed": {"epsilon": 2, "release": True}}}},
            "figure 2, shapes / self: gradients before clipping are not covered by ε",
        ),
        (
            {"tables": {"7": {"kind": "fid-views", "model": "eye", "datasets": ["shapes"], "extractors": ["eye"],
                              "methods": {"C": {"method": "mix", "subset": "S1", "mix_with": "S2"}}}}},
            "table 7: distances are of single examples' views of the whole training set",
        ),
        (
            {"scratch": {"delta": 1e-5}, "finetune": {"delta": 1e-5}},
            "table 12, Self: learning_rate is not set; give a number, or `tuned`",
        ),
        (
            {"scratch": {"learning_rate": 1}, "finetune": {"learning_rate": 1}},
            "table 12, Self: delta is not set; give it there",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_that_says_where(demo: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamsError) as caught:
        Catalogue(parse(raw(**demo)))
    assert str(caught.value).startswith(f"params.yaml: {words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("end", "named", "other"),
    [({"method": "mix", "k_diff": 0}, "ladder", "method"), ({"k_self": 0}, "method", "ladder")],
)
def test_the_method_that_the_note_below_a_ladder_names_is_in_the_stamp(
    end: dict[str, Any], named: str, other: str
) -> None:
    """The ladder's own, or else the whole table's; and nothing that it does not name."""
    before = shown(end=end)["table4"]
    assert shown(end=end, **{named: "Another"})["table4"] != before
    assert shown(end=end, **{other: "Another"})["table4"] == before


def test_the_prompts_in_the_note_below_a_ladder_are_in_the_stamp() -> None:
    """Also where no encoder has a text tower that is asked them."""
    for eye in ("ViT-B-16", "timm/test_vit"):
        assert shown(eye=eye, prompts=["a drawing of a {}"])["table4"] != shown(eye=eye)["table4"]
