"""Every table and figure expands to what the paper says, cell by cell (`catalogue.cells`)."""

import copy
import cProfile
import itertools
import pstats
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dpmix.artefacts.data import ImageStore
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import Distance
from dpmix.catalogue.catalogue import Catalogue, of_config
from dpmix.errors import ParamsError
from dpmix.params.models import EncoderSpec
from dpmix.params.read import parse, read
from dpmix.tables.captions import TABLES
from dpmix.tables.kinds.accuracy import AccuracyTable
from dpmix.tables.published import published
from tests.catalogue.conftest import TABLE_NUMBERS, inner, runs


# Tables ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_all_tables_and_figures_are_there_in_the_papers_layout(catalogues: dict[str, Catalogue], scale: str) -> None:
    catalogue = catalogues[scale]
    assert set(catalogue.targets) >= {*(f"table{n}" for n in TABLE_NUMBERS), "figure1", "figure2", "claims"}
    assert set(catalogues["demo"].targets) == set(catalogues["paper"].targets)
    for table in TABLE_NUMBERS:
        cells = catalogue.cells(table)
        assert cells
        for cell in cells:
            assert len(cell.row) == len(TABLES[table].row_names)
            assert len(cell.column) == len(TABLES[table].column_names)
        if table != "11":
            assert any(cell.artefacts for cell in cells)
    assert catalogue.targets["figure1"]
    assert {type(one) for one in catalogue.targets["figure2"]} == {GradientRecord}


@pytest.mark.parametrize("table", TABLE_NUMBERS)
def test_every_cell_of_the_paper_is_here_once_and_no_other(paper: Catalogue, table: str) -> None:
    here = Counter((cell.row, cell.column) for cell in inner(paper, table))
    printed = set(published(table).values)
    ours = {"1": "DP-SGD w/ Mixup (alone)", "7": "DP-Mix_Diff, K_DIFF = 2"}
    extra = {key for key in here if ours.get(table) in (*key[0], *key[1])}
    assert bool(extra) == (table in ours)
    assert set(here) - extra == printed
    assert set(here.values()) == {1}
    # In the paper's order, so that the two stand side by side.
    assert [key for key in here if key in printed] == list(published(table).values)


@pytest.mark.parametrize("table", [n for n in TABLE_NUMBERS if n not in ("7", "8", "11")])
def test_a_cell_is_run_unless_the_paper_has_none(paper: Catalogue, table: str) -> None:
    assert inner(paper, table)
    for cell in inner(paper, table):
        printed = published(table).get(cell.row, cell.column)
        not_applicable = "Mixup" in cell.row[0] and cell.column == ("Microbatch Size = 1",) if table == "1" else False
        assert bool(cell.artefacts) != not_applicable
        assert not_applicable == (printed is not None and printed.text == "N/A") or "alone" in cell.row[0]
        assert [one.seed for one in cell.artefacts if isinstance(one, Experiment)] == [1, 2, 3][: len(cell.artefacts)]


def test_the_papers_hyperparameters(paper: Catalogue) -> None:
    """Sections 4 to 6 and appendix C."""
    assert len(paper.of(Experiment)) > 100
    for run in (one for one in paper.of(Experiment) if isinstance(one, Experiment)):
        assert run.delta == 1e-5
        if run.model.name == "resnet-20":  # of ModelMix's paper, appendix E
            assert (run.batch_size, run.epochs, run.clip_norm) == (1500, 105, 20)
            assert run.learning_rate == (0.15 if run.update == "model-mix" else 0.1)
            assert (run.mix_width, run.truncation) == (0.15, 100)
            continue
        assert run.clip_norm == (0.05 if run.method == "mixed-ghost" else 1)
        assert run.momentum == run.weight_decay == 0
        assert run.mixup_alpha == 0.2
        if isinstance(run.model, EncoderSpec):
            assert (run.batch_size, run.epochs) == (1000, 20 if run.dataset.name == "eurosat" else 10)
            assert isinstance(run.learning_rate, Selection)
        else:
            assert (run.batch_size, run.epochs) == (4096, 200)
        if run.synthetic:
            assert run.synthetic.size == run.dataset.train
            assert run.synthetic.diffusion.prompt == "a photo of a {}"


def test_the_papers_numbers_of_views(paper: Catalogue) -> None:
    def ks(table: str) -> dict[tuple[str, str], set[tuple[int, int, int]]]:
        found: dict[tuple[str, str], set[tuple[int, int, int]]] = {}
        for run in runs(paper, table):
            found.setdefault((run.dataset.name, run.method), set()).add((run.k_base, run.k_self, run.k_diff))
        return found

    for (_, method), found in ks("2").items():
        assert found == {(16, 16, 0) if method == "dp-mix-self" else (16, 0, 0)}
    for (dataset, method), found in ks("3").items():
        diff = (16, 18, 24 if dataset in ("caltech256", "oxford-pet") else 2)
        expected = {"mixed-ghost": (1, 0, 0), "self-aug": (16, 0, 0), "dp-mix-self": (16, 16, 0), "dp-mix-diff": diff}
        assert found == {expected[method]}, (dataset, method)
    assert ks("12")["cifar-100", "pure-dp-mix-diff"] == {(0, 18, 18)}
    for cell in inner(paper, "9"):
        for run in cell.artefacts:
            assert isinstance(run, Experiment)
            assert tuple(map(str, (run.k_base, run.k_self, run.k_diff))) == cell.column


def test_table_7_shows_both_readings_of_k_diff(paper: Catalogue) -> None:
    """Footnote 3 gives Caltech256 K_DIFF = 24; the printed distance is that of 2 (docs/choices.md)."""
    found: dict[str, list[tuple[int, int, int]]] = {}
    for cell in paper.cells("7"):
        (distance,) = cell.artefacts
        assert isinstance(distance, Distance)
        assert distance.views is not None
        if cell.column[0] == "Train" and cell.column[1].startswith("DP-Mix_Diff"):
            views = distance.views
            found.setdefault(cell.row[0], []).append((views.k_base, views.k_self, views.k_diff))
    twice = [(16, 18, 2), (16, 18, 2)]
    assert found.pop("Caltech256") == [(16, 18, 24), (16, 18, 2)]
    assert found == {"CIFAR-10": twice, "CIFAR-100": twice, "EuroSAT": twice}


def test_the_papers_settings_by_table(paper: Catalogue) -> None:
    def found(table: str) -> set[tuple[str, str, float]]:
        return {(run.dataset.name, run.model.name, run.epsilon) for run in runs(paper, table)}

    budgets = (1, 2, 4, 8)
    six = ("cifar-10", "cifar-100", "eurosat", "caltech256", "sun397", "oxford-pet")
    encoders = ("vit-b-16", "convnext")
    assert found("1") == {("cifar-10", "wrn-16-4", 8)}
    assert found("2") == set(itertools.product(("cifar-10", "cifar-100", "eurosat"), ("wrn-16-4",), budgets))
    assert found("3") == set(itertools.product(six, encoders, budgets))
    assert found("4") == {("cifar-10", "vit-b-16", 1), ("cifar-100", "vit-b-16", 1)}
    assert found("5") == {("cifar-10", "wrn-16-4", 8), ("cifar-10", "vit-b-16", 8)}
    assert found("6") == {("caltech256", name, 2) for name in encoders}
    assert found("9") == found("13") == {("caltech256", "vit-b-16", 1)}
    assert found("10") == {(dataset, name, 2) for dataset in six for name in encoders}
    assert found("12") == {("cifar-100", "vit-b-16", 1)}
    assert {run.microbatch_size for run in runs(paper, "1")} == {1, 2}
    assert {run.subset for run in runs(paper, "10")} == {"S1"}
    assert {run.mix_with for run in runs(paper, "10") if run.k_diff} == {"synthetic", "S2"}


def test_cells_with_equal_settings_are_one_run(paper: Catalogue) -> None:
    """Tables 1 and 5 repeat runs of Table 2; Table 13 is Table 3 with the clock."""
    of_table_2 = {run.hash for run in runs(paper, "2")}
    plain = next(cell for cell in paper.cells("1") if cell.row == ("DP-SGD w/ Self-Aug",) and "1" in cell.column[0])
    assert {one.hash for one in plain.artefacts} <= of_table_2
    assert {run.hash for run in runs(paper, "13")} <= {run.hash for run in runs(paper, "3")}


@pytest.mark.parametrize(("scale", "table"), itertools.product(["demo", "paper"], ["4", "5", "9"]))
def test_variants_are_tuned_as_one(catalogues: dict[str, Catalogue], scale: str, table: str) -> None:
    """What `tuned_as` says is how the learning rate is chosen; the runs keep their own settings."""
    catalogue = catalogues[scale]
    spec = catalogue.spec.tables[table]
    assert isinstance(spec, AccuracyTable)
    assert spec.tuned_as is not None
    shared = spec.tuned_as.model_dump(exclude_none=True)
    chosen: dict[tuple[str, str, str], set[str]] = {}
    for run in runs(catalogue, table):
        if isinstance(run.learning_rate, Selection):
            tuning = run.learning_rate.experiment
            assert {name: getattr(tuning, name) for name in shared} == shared
            assert (tuning.dataset, tuning.model, tuning.epsilon) == (run.dataset, run.model, run.epsilon)
            key = (run.dataset.name, run.model.name, run.method)
            chosen.setdefault(key, set()).add(run.learning_rate.path(scale).as_posix())
    assert chosen
    assert all(len(paths) == 1 for paths in chosen.values())


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_learning_rates_are_chosen_on_held_out_training_images(catalogues: dict[str, Catalogue], scale: str) -> None:
    assert catalogues[scale].of(Selection)
    for selection in catalogues[scale].of(Selection):
        assert isinstance(selection, Selection)
        assert selection.experiment.holdout > 0
        assert selection.experiment.learning_rate is None
        assert selection.experiment.population + selection.experiment.held_out_size == selection.experiment.subset_size
    for run in catalogues[scale].of(Experiment):
        assert isinstance(run, Experiment)
        assert run.holdout == 0


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_grids_of_learning_rates_are_in_units_of_one_over_c(
    catalogues: dict[str, Catalogue], raw: dict[str, Any], scale: str
) -> None:
    """Mixed Ghost clips at 0.05, so its rates are twenty times the others'."""
    grid = catalogues[scale].spec.tuning.learning_rates
    found: dict[str, set[tuple[float, ...]]] = {}
    for run in catalogues[scale].of(Experiment):
        assert isinstance(run, Experiment)
        if isinstance(run.learning_rate, Selection):
            found.setdefault(run.method, set()).add(run.learning_rate.learning_rates)
    (of_mixed_ghost,) = found["mixed-ghost"]
    assert of_mixed_ghost == pytest.approx([20 * unit for unit in grid])
    assert {rates for method, many in found.items() if method != "mixed-ghost" for rates in many} == {grid}
    # A number is the rate itself.
    changed = copy.deepcopy(raw)
    changed["scales"][scale]["finetune"]["learning_rate"] = 0.5
    given = runs(Catalogue(parse(changed), scale), "3")
    assert {run.method for run in given} >= {"mixed-ghost", "self-aug"}
    assert {run.learning_rate for run in given} == {0.5}


def test_a_rate_that_is_tuned_with_another_c_keeps_its_unit(raw: dict[str, Any]) -> None:
    changed = copy.deepcopy(raw)
    changed["scales"]["demo"]["tables"]["12"]["fixed"]["clip_norm"] = 0.5
    changed["scales"]["demo"]["tables"]["12"]["tuned_as"] = {"clip_norm": 4}
    catalogue = Catalogue(parse(changed), "demo")
    grid = catalogue.spec.tuning.learning_rates
    assert len(runs(catalogue, "12")) == 12
    for run in runs(catalogue, "12"):
        assert isinstance(run.learning_rate, Selection)
        assert (run.clip_norm, run.learning_rate.experiment.clip_norm) == (0.5, 4)
        assert run.learning_rate.learning_rates == tuple(unit / 4 for unit in grid)


def test_class_names_are_looked_up_in_a_store_that_runs_need(catalogues: dict[str, Catalogue]) -> None:
    """Another resolution would decode a whole data set for its names."""
    for scale, sides in (("demo", {16}), ("paper", {32, 224, 256})):
        assert {one.resolution for one in catalogues[scale].of(ImageStore) if isinstance(one, ImageStore)} == sides


# Changes --------------------------------------------------------------------------------------------------------------
def outputs(raw: dict[str, Any], scale: str = "demo") -> set[str]:
    catalogue = Catalogue(parse(raw), scale)
    return {path for path, one in catalogue.artefacts.items() if isinstance(one, Experiment | GradientRecord)}


def test_a_changed_epsilon_touches_its_own_runs(raw: dict[str, Any], catalogues: dict[str, Catalogue]) -> None:
    changed = copy.deepcopy(raw)
    changed["scales"]["demo"]["tables"]["12"]["fixed"]["epsilon"] = 3
    old, new = outputs(raw), outputs(changed)
    table = {run.path("demo").as_posix() for run in runs(catalogues["demo"], "12")}
    only = {path for path in table if catalogues["demo"].needed_by[path] <= {"table12", "claims"}}
    assert old - new == only
    assert len(new - old) == len(table)
    assert all("/eps3-" in path for path in new - old)


def test_a_further_seed_adds_runs_and_touches_none(raw: dict[str, Any]) -> None:
    changed = copy.deepcopy(raw)
    changed["scales"]["demo"]["seeds"].append(4)
    old, new = outputs(raw), outputs(changed)
    assert old < new
    assert all("-seed4-" in path for path in new - old)


def test_a_changed_label_touches_nothing(raw: dict[str, Any]) -> None:
    changed = copy.deepcopy(raw)
    changed["methods"]["self-aug"]["label"] = "Self-Augmentation"
    changed["datasets"]["digits"]["label"] = "handwritten digits"
    assert outputs(changed) == outputs(raw)


def test_another_scale_is_untouched(raw: dict[str, Any]) -> None:
    changed = copy.deepcopy(raw)
    changed["scales"]["demo"]["finetune"]["k_self"] = 2
    assert outputs(changed, "paper") == outputs(raw, "paper")
    assert not outputs(raw, "demo") & outputs(raw, "paper")


# Speed ----------------------------------------------------------------------------------------------------------------
def calls_of(profile: cProfile.Profile, name: str) -> int:
    """How often functions of this name, of this package, were called."""
    calls = pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]
    return sum(count for (file, _, function), (_, count, *_) in calls if function == name and "dpmix" in file)


def test_the_work_is_in_proportion_to_what_is_asked_for(raw: dict[str, Any]) -> None:
    """Runs that several tables share are hashed for each, and what they are made from once for each run."""
    params, profile = parse(raw), cProfile.Profile()
    paper = profile.runcall(Catalogue, params, "paper")
    shown = sum(map(len, paper.targets.values()))
    sources = sum(len(one.inputs()) for one in paper.artefacts.values())
    assert len(paper.artefacts) <= calls_of(profile, "digest") <= shown + sources


# Looking up -----------------------------------------------------------------------------------------------------------
def test_every_path_is_found_again_with_what_it_needs(catalogues: dict[str, Catalogue]) -> None:
    assert len(catalogues) == 2
    for catalogue in catalogues.values():
        assert len(catalogue.artefacts) > 100
        for path, artefact in catalogue.artefacts.items():
            assert catalogue.find(Path(path)) is artefact
            assert set(catalogue.inputs(path)) <= set(catalogue.artefacts)


def test_a_path_that_nothing_asks_for_is_one_line(paper: Catalogue) -> None:
    with pytest.raises(
        ParamsError, match=r"at scale paper asks for results/x\.json; was it changed since, or dpmix's code\?"
    ):
        paper.find("results/x.json")
    with pytest.raises(ParamsError, match="unknown table '14'"):
        paper.cells("14")


def test_synthetic_images_of_a_part_are_those_of_the_whole(catalogues: dict[str, Catalogue]) -> None:
    assert len({run.synthetic for run in runs(catalogues["demo"], "3") if run.synthetic}) == 1


def test_only_the_scale_can_be_overridden(raw: dict[str, Any], repository: Path) -> None:
    path = repository / "params.yaml"
    assert of_config({**raw, "scale": "paper"}, path).scale == "paper"
    changed = copy.deepcopy(raw)
    changed["scales"]["demo"]["seeds"] = [1]
    with pytest.raises(ParamsError, match="only scale can be set with --config"):
        of_config(changed, path)
    changed["scales"]["demo"]["seeds"] = []
    with pytest.raises(ParamsError) as caught:
        of_config(changed, path)
    assert str(caught.value).startswith(f"{path}: scales.demo.seeds: ")
    assert read(path) == parse(raw)


def test_a_rate_for_each_epsilon_needs_an_epsilon(raw: dict[str, Any]) -> None:
    changed = copy.deepcopy(raw)
    demo = changed["scales"]["demo"]
    demo["tables"] = {"12": copy.deepcopy(demo["tables"]["12"])}
    demo["figures"] = {}
    demo["finetune"].pop("epsilon", None)
    demo["tables"]["12"]["fixed"].pop("epsilon", None)
    demo["tables"]["12"]["fixed"]["learning_rate"] = {2: 1.0}
    with pytest.raises(ParamsError, match=r"^params\.yaml: table 12, .*: epsilon is not set; give it there$"):
        Catalogue(parse(changed), "demo")
