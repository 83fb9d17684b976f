"""`report.data`, and `report.runs` by it: what is on disk, whatever is there, is what the report holds."""

import math
import re
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.artefacts.plan_file import PlanFile
from dpmix.catalogue.jobs import jobs
from dpmix.errors import DataError
from dpmix.report.data import CellData, Report, beside, collect
from dpmix.report.page.build import page
from dpmix.report.runs import Facets
from dpmix.seals import read_record, write_record
from dpmix.tables.build import build
from dpmix.tables.captions import ACCURACY
from dpmix.tables.cells import Cell, Table
from dpmix.tables.render import read, write
from dpmix.tables.statistics import mean_interval
from tests.report.made_runs import VERSIONS, lay

RESULTS = Path("results/demo")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cells(report: Report, stem: str) -> dict[tuple[str, ...], CellData]:
    (data,) = [data for data in report.tables if data.table.stem == stem]
    return {(*one.cell.row, *one.cell.column): one for one in data.cells}


def test_a_finished_table_has_its_cells_and_their_runs(folder: Path, repository: Path) -> None:
    catalogue = lay(folder, repository, "3", "12")
    report = collect(RESULTS, catalogue)
    (table,) = [data.table for data in report.tables if data.table.name == "3"]
    assert table == build("3", catalogue)
    one = cells(report, "table3")["digits (300)", "DP-Mix_Diff", "Tiny ViT", "ε = 2"]
    assert one.facets == Facets("digits (300)", "Tiny ViT", "DP-Mix_Diff", "2")
    assert (one.state, one.agrees, one.to_paper) == ("done", None, None)
    assert one.interval == mean_interval(one.cell.values)
    assert one.above is not None
    assert one.above.label == "DP-Mix_Self"
    (spec,) = [cell for cell in catalogue.cells("3") if (cell.row, cell.column) == (one.cell.row, one.cell.column)]
    assert [run.path for run in one.runs] == [catalogue.path(artefact) for artefact in spec.artefacts]
    first, artefact = one.runs[0], spec.artefacts[0]
    assert isinstance(artefact, Experiment)
    assert isinstance(artefact.learning_rate, Selection)
    rates = artefact.learning_rate.learning_rates
    assert first.epsilon == pytest.approx({"rdp": 1.99 - 0.001, "prv": 1.98 - 0.001, "pld": 1.97 - 0.001})
    assert (first.seed, first.target, first.delta, first.views) == (1, 2.0, 1e-5, (4, 4, 2))
    assert (first.noise, first.sampling, first.hardware, first.versions) == (1.25, 0.125, "an abacus", VERSIONS)
    assert first.rate is not None
    assert (first.rate.low, first.rate.high, first.rate.end) == (min(rates), max(rates), None)
    assert first.execution == {"device": "cpu", "threads": 1}
    assert (report.finished, report.hardware) == ("2026-01-04 10:00", ("an abacus",))
    assert report.command == "snakemake --cores all"


def test_references_have_the_epsilon_that_they_are_of(folder: Path, repository: Path) -> None:
    found = cells(collect(RESULTS, lay(folder, repository, "3")), "table3")
    zero = found["digits", "Zero-shot (ε = 0)", "Tiny ViT", "ε = 1"]
    free = found["digits", "Non-private (ε = ∞)", "Tiny ViT", "ε = 1"]
    assert (zero.facets.method, zero.facets.epsilon, zero.runs[0].kind) == ("Zero-shot", "0", "ZeroShot")
    assert (free.facets.epsilon, free.runs[0].target, free.runs[0].delta) == ("∞", math.inf, None)
    assert zero.above is None
    assert free.above is None


def test_a_distance_of_a_methods_views_is_that_methods(folder: Path, repository: Path) -> None:
    catalogue = lay(folder, repository, "7", "8")
    report = collect(RESULTS, catalogue)
    views, sets = cells(report, "table7"), cells(report, "table8")
    assert views["digits", "Train", "DP-Mix_Self"].facets == Facets("digits", "Tiny ViT", "DP-Mix_Self")
    assert views["digits", "Test", "DP-Mix_Diff, K_DIFF = 6"].facets.method == "DP-Mix_Diff"
    assert {one.facets.method for one in sets.values()} == {""}


def test_a_run_that_several_tables_show_is_one(folder: Path, repository: Path) -> None:
    report = collect(RESULTS, lay(folder, repository))
    shown = [run.path for data in report.tables for cell in data.cells for run in cell.runs]
    assert len(shown) > len(set(shown)) == len(report.runs)
    methods = report.methods
    assert {"Self-Aug", "DP-Mix_Self", "DP-Mix_Diff"} <= set(methods)
    assert len(set(methods)) == len(methods)


def test_each_record_is_opened_once(folder: Path, repository: Path) -> None:
    """A run that Tables 3 and 10 show, and of which a value, an ε and all that a cell opens are read."""
    catalogue = lay(folder, repository, "3", "10")
    opened: Counter[str] = Counter()

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and counting and str(arguments[0]).endswith(".json"):
            opened[str(arguments[0])] += 1

    counting = False
    sys.addaudithook(count)
    counting = True
    report = collect(RESULTS, catalogue)
    counting = False
    records = {run.path for run in report.runs.values() if run.state == "done"}
    assert len(records) > 200
    assert {opened[path] for path in records} == {1}


def test_a_cell_shows_the_seeds_that_it_has(folder: Path, repository: Path) -> None:
    catalogue = lay(folder, repository, "12")
    first, second, *_ = catalogue.cells("12")
    Path(catalogue.path(first.artefacts[1])).unlink()
    for artefact in second.artefacts:
        Path(catalogue.path(artefact)).unlink()
    found = cells(collect(RESULTS, catalogue), "table12")
    half, none = found[first.row], found[second.row]
    assert (half.state, half.cell.seeds, [run.state for run in half.runs]) == (
        "missing",
        2,
        ["done", "missing", "done"],
    )
    assert (none.state, none.cell.values, none.interval) == ("missing", (), None)
    third = found["DP-Mix_Diff",]
    assert third.above is not None
    assert (third.above.label, third.above.seeds) == ("Self-Aug", 2)  # the row between has nothing
    (table,) = [data.table for data in collect(RESULTS, catalogue).tables if data.table.name == "12"]
    assert "Not all of its runs are done." in table.notes


def test_of_an_empty_folder_everything_is_missing(folder: Path, repository: Path) -> None:
    catalogue = lay(folder, repository, "12")
    shutil.rmtree(RESULTS)
    report = collect(RESULTS, catalogue)
    assert [data.table.name for data in report.tables] == list(catalogue.spec.tables)
    states = {one.state for data in report.tables for one in data.cells if one.runs}
    assert states == {"missing"}
    assert report.standing is not None
    assert report.standing.together.done == 0
    assert (report.finished, report.claims, report.figures) == ("", (), {})


def test_a_record_that_cannot_be_read_has_failed_and_the_others_stand(folder: Path, repository: Path) -> None:
    catalogue = lay(folder, repository, "12")
    first, second, *_ = catalogue.cells("12")
    path = Path(catalogue.path(first.artefacts[0]))
    path.write_text(path.read_text().replace("0.125", "0.126"))
    found = cells(collect(RESULTS, catalogue), "table12")
    assert found[first.row].state == "failed"
    assert "damaged or changed" in found[first.row].runs[0].why
    assert found[second.row].state == "done"


@pytest.mark.parametrize("accuracy", [math.nan, None, 930.0])
def test_a_cell_leaves_out_a_record_without_a_number_and_shows_the_others(
    folder: Path, repository: Path, accuracy: float | None
) -> None:
    catalogue = lay(folder, repository, "12")
    first, *_ = catalogue.cells("12")
    whole = cells(collect(RESULTS, catalogue), "table12")[first.row].cell.values
    path = Path(catalogue.path(first.artefacts[1]))
    times = {"seconds": 1.0, "hardware": "an abacus", "finished": "2026-01-01 10:00:00+0000"}
    write_record(path, {**read_record(path), "accuracy": accuracy, "times": times})
    report = collect(RESULTS, catalogue)
    one = cells(report, "table12")[first.row]
    assert one.cell.values == (whole[0], whole[2])
    assert (one.cell.note, one.state, [run.state for run in one.runs]) == ("", "failed", ["done", "failed", "done"])
    assert "is not a whole record" in one.runs[1].why
    assert one.runs[1].log == str(path)
    (table,) = [data.table for data in report.tables if data.table.name == "12"]
    assert "Not all of its runs are done." in table.notes


def test_a_job_that_failed_says_why_at_each_of_its_runs(folder: Path, repository: Path) -> None:
    catalogue = lay(folder, repository, "12")
    (cell, *_) = catalogue.cells("12")
    for artefact in cell.artefacts:
        Path(catalogue.path(artefact)).unlink()
    every = jobs(catalogue, *{type(one): None for one in catalogue.artefacts.values()}, missing_only=False)
    (job,) = [job for job in every if catalogue.path(cell.artefacts[0]) in job.paths]
    log = folder / "logs" / "train" / f"{job.name}.log"
    log.parent.mkdir(parents=True)
    log.write_text("epoch 1\nerror: memory ran out; take a smaller batch\n", encoding="utf-8")
    one = cells(collect(RESULTS, catalogue), "table12")[cell.row]
    assert one.state == "failed"
    assert one.runs[0].why == "error: memory ran out; take a smaller batch"
    assert one.runs[0].log == f"logs/train/{job.name}.log"


def test_commands_name_another_scale_and_other_params(folder: Path, repository: Path) -> None:
    catalogue = lay(folder, repository, "12")
    assert len(catalogue.of(PlanFile)) > 1
    paper = lay(folder, repository, "12", scale="paper")
    assert collect(Path("results/paper"), paper).command == "snakemake --cores all --config scale=paper --"
    mine = collect(RESULTS, catalogue, "mine.yaml").command
    assert mine == "snakemake --cores all --configfile mine.yaml --"


def test_a_cell_of_the_papers_scale_is_beside_the_paper(folder: Path, repository: Path) -> None:
    one = cells(collect(Path("results/paper"), lay(folder, repository, "12", scale="paper")), "table12")["Self-Aug",]
    assert one.to_paper is not None
    assert one.to_paper.estimate == pytest.approx(one.cell.center - 79.3)
    assert one.agrees is False  # the records are far from it


def test_times_neither_agree_with_the_paper_nor_differ_from_it(folder: Path, repository: Path) -> None:
    """They were measured on other hardware than the paper's."""
    found = cells(collect(Path("results/paper"), lay(folder, repository, "13", scale="paper")), "table13")
    assert len(found) == 3
    assert all(one.to_paper is not None and one.agrees is None for one in found.values())


def test_a_folder_by_itself_has_its_tables(repository: Path) -> None:
    report = collect(repository / "results" / "reference" / "demo")
    assert len(report.tables) == 16
    one = cells(report, "table3")["digits", "DP-Mix_Self", "Tiny ViT", "ε = 4"]
    assert one.facets == Facets("digits", "Tiny ViT", "DP-Mix_Self", "4")
    assert (one.runs, one.state) == ((), None)
    assert one.above is not None
    assert len(report.claims) > 10
    assert sorted(report.figures) == [1, 2]


def test_a_folder_without_anything_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match="mine has no tables or figures; make some first"):
        collect(folder / "mine")


def test_cells_stand_beside_those_of_other_results(repository: Path, folder: Path) -> None:
    reference = repository / "results" / "reference" / "demo"
    other = collect(reference)
    shutil.copytree(reference / "tables", folder / "mine" / "tables")
    (folder / "mine" / "tables" / "table9.json").unlink()
    path = folder / "mine" / "tables" / "table12.json"
    changed = read(path)
    moved = replace(changed.cells[0], values=tuple(value - 40 for value in changed.cells[0].values))
    write(replace(changed, cells=(moved, *changed.cells[1:])), path.parent)
    found = beside(other, folder / "mine")
    assert found.against == str(folder / "mine")
    twelve = cells(found, "table12")
    verdicts = [one.other and one.other.verdict for one in twelve.values()]
    assert verdicts == ["outside", "within", "within", "within"]
    first = twelve["Self-Aug",].other
    assert first is not None
    assert first.reference is not None
    assert first.reference.center == pytest.approx(twelve["Self-Aug",].cell.center - 40)
    assert {one.other for one in cells(found, "table9").values()} == {None}
    with pytest.raises(DataError, match=r"no tables in .*nothing"):
        beside(other, folder / "nothing")


def test_what_only_one_side_has_is_said(folder: Path) -> None:
    def table(name: str, *labels: str) -> Table:
        cells = tuple(Cell((label,), (), (70.0, 71.0)) for label in labels)
        return Table(name, name, "", ACCURACY, ("Method",), (), cells, "demo")

    for side, tables in (
        ("here", [table("2", "A", "B"), table("mine", "A")]),
        ("there", [table("2", "B", *(f"C{place}" for place in range(12))), table("9", "A")]),
    ):
        for one in tables:
            write(one, folder / side / "tables")
    found = beside(collect(folder / "here"), folder / "there")
    assert found.one_sided[:2] == ("Only here: Table mine.", "Only there: Table 9.")
    assert found.one_sided[2].startswith("Cells that are only there: Table 2, C0; Table 2, C1; ")
    assert found.one_sided[2].endswith("Table 2, C9; and 2 more.")
    assert len(found.one_sided) == 3
    other = cells(found, "table2")["A",].other
    assert other is not None
    assert (other.verdict, other.reference) == ("alone", None)
    text = page(found, folder / "here", folder / "index.html")
    assert "Only here: Table mine. Only there: Table 9." in text
    section = text.partition('id="table2"')[2].partition("</section>")[0]
    rows = dict(re.findall(r'<th scope="row">(\w)</th>(<td.*?)</tr>', section))
    assert ("≠" in rows["A"], "≠" in rows["B"]) == (True, False)
