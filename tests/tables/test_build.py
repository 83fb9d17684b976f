"""A table's numbers are those that its runs left, and nothing else."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.measurements import ZeroShot
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import DataError, DpmixError, ParamsError
from dpmix.files import read_json, write_json
from dpmix.params.read import parse
from dpmix.tables.build import build
from dpmix.tables.captions import ACCURACY, DISTANCE, MINUTES, TABLES
from dpmix.tables.cells import from_json, to_json
from dpmix.tables.kinds.accuracy import NON_PRIVATE, ZERO_SHOT
from tests.tables.records import leave_records, rate_of, spent


@pytest.fixture(scope="module")
def raw(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def catalogues(raw: dict[str, Any]) -> dict[str, Catalogue]:
    return {scale: Catalogue(parse(raw), scale) for scale in ("demo", "paper")}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("scale", ["demo", "paper"])
@pytest.mark.parametrize("number", [str(number) for number in range(1, 14)])
def test_every_value_is_its_runs(catalogues: dict[str, Catalogue], scale: str, number: str) -> None:
    catalogue = catalogues[scale]
    numbers = leave_records(catalogue, number)
    table = build(number, catalogue)
    assert (table.name, table.scale) == (number, scale)
    assert len(table.cells) == len(catalogue.cells(number))
    for cell, spec in zip(table.cells, catalogue.cells(number), strict=True):
        assert (cell.row, cell.column) == (spec.row, spec.column)
        assert cell.values == tuple(numbers[artefact.path(scale)] for artefact in spec.artefacts)
        assert bool(cell.note) == (not spec.artefacts)
        assert cell.end == spec.end
        assert cell.paper is None or not cell.end
        runs = [artefact for artefact in spec.artefacts if isinstance(artefact, Experiment)]
        zero_shot = any(isinstance(artefact, ZeroShot) for artefact in spec.artefacts)
        said = [spent(run)[run.accountant] if run.epsilon < math.inf else math.inf for run in runs]
        assert cell.epsilon == (0 if zero_shot else max(said, default=None))
        assert cell.statistic == ("median" if number == "11" else "mean")
    layout = TABLES[number]
    unit = {"13": MINUTES, "7": DISTANCE, "8": DISTANCE}.get(number, ACCURACY)
    words = (table.title, table.caption, table.unit, table.row_names, table.column_names)
    assert words == (layout.title, layout.caption, unit, layout.row_names, layout.column_names)
    assert any("miniature" in note for note in table.notes) == (scale == "demo")
    assert any("two ways to mix a microbatch" in note for note in table.notes) == (number == "1")
    assert from_json(to_json(table)) == table


def test_the_papers_numbers_stand_beside_the_papers_grid_only(catalogues: dict[str, Catalogue]) -> None:
    for scale, catalogue in catalogues.items():
        leave_records(catalogue, "12")
        assert build("12", catalogue).has_paper == (scale == "paper")
    cell = build("12", catalogues["paper"]).grid[("Self-Aug",), ()]
    assert cell.paper is not None
    assert (cell.paper.mean, cell.paper.sd) == (79.3, 0.2)


def test_table_7_says_what_k_diff_is_and_the_papers_number_stands_beside_both(catalogues: dict[str, Catalogue]) -> None:
    leave_records(catalogues["paper"], "7")
    table = build("7", catalogues["paper"])
    assert (
        "K_DIFF where the column does not give it: CIFAR-10 2, CIFAR-100 2, EuroSAT 2, Caltech256 24. The paper does "
        "not say which K_DIFF it has." in table.notes
    )
    beside = {
        (split, label): table.grid[("Caltech256",), (split, label)].paper
        for split, label in table.columns
        if label.startswith("DP-Mix_Diff")
    }
    assert len(beside) == 4
    for (split, _), value in beside.items():
        assert value is not None
        assert value.mean == {"Train": 1.5, "Test": 2.9}[split]
    leave_records(catalogues["demo"], "7")
    notes = build("7", catalogues["demo"]).notes
    assert "K_DIFF where the column does not give it: digits 2, digits (300) 2." in notes


def test_rates_at_an_end_of_their_grid_are_in_the_footer_for_every_method(raw: dict[str, Any]) -> None:
    """Table 3 has C = 0.05 in one row and C = 1 in the others: what counts is lr·C."""
    demo = {**raw["scales"]["demo"], "tuning": {"learning_rates": [8, 0.5, 2, 4], "holdout": 0.25}}
    catalogue = Catalogue(parse({**raw, "scales": {"demo": demo}}))
    leave_records(catalogue, "3")
    assert "Learning rates: lr·C from 0.5 to 8; none was chosen at an end." in build("3", catalogue).notes
    for cell in catalogue.cells("3"):
        for run in cell.artefacts:
            if not isinstance(run, Experiment):
                continue
            path = run.path("demo")
            at = {"mixed-ghost": 8, "dp-mix-self": 0.5 if run.epsilon == 1 else 2}.get(run.method, 4)
            write_json(path, {**read_json(path), "learning_rate": at / run.clip_norm})
    said = (
        "Learning rates: lr·C from 0.5 to 8; the largest was chosen for digits / Mixed Ghost, digits (300) / "
        "Mixed Ghost, and the smallest was chosen for digits / DP-Mix_Self (Tiny ViT, ε = 1; Tiny ConvNeXt, ε = 1), "
        "digits (300) / DP-Mix_Self (Tiny ViT, ε = 1; Tiny ConvNeXt, ε = 1)."
    )
    assert said in build("3", catalogue).notes
    for number in ("1", "2", "8", "11", "13"):  # nothing is chosen, or what is shown is no accuracy
        leave_records(catalogue, number)
        assert not any("Learning rates" in note for note in build(number, catalogue).notes)


def test_times_name_their_hardware(catalogues: dict[str, Catalogue]) -> None:
    leave_records(catalogues["demo"], "13")
    with_times = "Measured on a slide rule and an abacus; heads share the time of the views that they have in common."
    assert with_times in build("13", catalogues["demo"]).notes
    leave_records(catalogues["demo"], "12")
    assert not any("Measured on" in note for note in build("12", catalogues["demo"]).notes)


@pytest.mark.parametrize("accountant", ["rdp", "prv", "pld"])
def test_the_epsilon_shown_is_that_of_the_accountant_that_calibrated(raw: dict[str, Any], accountant: str) -> None:
    demo = {**raw["scales"]["demo"], "figures": {}, "tables": {"12": raw["scales"]["demo"]["tables"]["12"]}}
    demo["finetune"] = {**demo["finetune"], "accountant": accountant}
    catalogue = Catalogue(parse({**raw, "scales": {"demo": demo}}))
    leave_records(catalogue, "12")
    less = {"rdp": 0.01, "prv": 0.02, "pld": 0.03}[accountant]
    runs = [one for cell in catalogue.cells("12") for one in cell.artefacts if isinstance(one, Experiment)]
    smallest = min(run.seed for run in runs)
    assert {cell.epsilon for cell in build("12", catalogue).cells} == {
        run.epsilon - less - smallest / 1000 for run in runs
    }
    # Where one of a cell's runs does not say it, nobody knows the largest.
    path = max(run.path("demo") for run in runs)
    write_json(path, {**read_json(path), "epsilon": {"target": 1.0}})
    with pytest.raises(DataError, match=f"does not say its ε under {accountant}; delete it and make the run again"):
        build("12", catalogue)


def test_a_grid_may_show_medians_and_says_so(raw: dict[str, Any]) -> None:
    demo = raw["scales"]["demo"]
    prints = set()
    for number, statistic in (("12", "mean"), ("12", "median"), ("13", "median")):
        table = {**demo["tables"][number], "statistic": statistic}
        catalogue = Catalogue(parse({**raw, "scales": {"demo": {**demo, "figures": {}, "tables": {number: table}}}}))
        first = min(leave_records(catalogue, number))
        write_json(first, {**read_json(first), "accuracy": 0.0, "times": {"seconds": 0.0, "hardware": "an abacus"}})
        cells = build(number, catalogue).cells
        assert [cell.center for cell in cells] == [float(getattr(np, statistic)(cell.values)) for cell in cells]
        assert any(cell.center != cell.mean for cell in cells) == (statistic == "median")
        prints.add(catalogue.fingerprint(f"table{number}"))
    assert len(prints) == 3
    table = {**demo["tables"]["12"], "statistic": "medien"}
    with pytest.raises(ParamsError, match=r"statistic: .*'mean' or 'median', not 'medien'; did you mean 'median'\?"):
        parse({**raw, "scales": {"demo": {**demo, "tables": {"12": table}}}})


def test_a_missing_run_is_named(catalogues: dict[str, Catalogue]) -> None:
    first = min(leave_records(catalogues["demo"], "12"))
    first.unlink()
    with pytest.raises(DpmixError, match="does not exist; run the step that makes it") as caught:
        build("12", catalogues["demo"])
    assert first.as_posix() in str(caught.value)


def test_both_ends_of_the_ladder_stand_below_each_data_set(catalogues: dict[str, Catalogue]) -> None:
    leave_records(catalogues["paper"], "3")
    table = build("3", catalogues["paper"])
    labels = ["Mixed Ghost", "Self-Aug", "DP-Mix_Self", "DP-Mix_Diff", ZERO_SHOT, NON_PRIVATE]
    assert [row[1] for row in table.rows] == 6 * labels
    for row in table.rows:
        assert {table.grid[row, column].end for column in table.columns} == {row[1] in (ZERO_SHOT, NON_PRIVATE)}
        if row[1] == ZERO_SHOT:
            for model in ("Vit-B-16", "ConvNext"):
                cells = [table.grid[row, column] for column in table.columns if column[0] == model]
                assert len({cell.values for cell in cells}) == 1
                assert {(cell.seeds, cell.sd, cell.epsilon) for cell in cells} == {(1, None, 0.0)}
    assert any("“a photo of a …”" in note and "Self-Aug without noise" in note for note in table.notes)
    leave_records(catalogues["paper"], "1")
    assert not any(cell.end for cell in build("1", catalogues["paper"]).cells)


def test_without_noise_epsilon_is_infinite(raw: dict[str, Any]) -> None:
    table = {**raw["scales"]["demo"]["tables"]["12"]}
    table["fixed"] = {**table["fixed"], "epsilon": float("inf")}
    demo = {**raw["scales"]["demo"], "tables": {"12": table}, "figures": {}}
    catalogue = Catalogue(parse({**raw, "scales": {"demo": demo}}))
    for cell in catalogue.cells("12"):
        for run in cell.artefacts:
            assert isinstance(run, Experiment)
            write_json(
                run.path("demo"),
                {
                    "accuracy": 50.0,
                    "learning_rate": rate_of(run),
                    "epsilon": {},
                    "experiment": {"accountant": run.accountant},
                },
            )
    assert {cell.epsilon for cell in build("12", catalogue).cells} == {math.inf}
