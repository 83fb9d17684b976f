"""Tables of kind `released`: two columns for each run, differences of rows, and the ε of a fixed order."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.files import write_json
from dpmix.params.read import parse
from dpmix.tables.build import build
from dpmix.tables.markdown import markdown

Params = dict[str, Any]

TABLE: Params = {
    "kind": "released",
    "title": "Mine",
    "rows": [
        {
            "axis": "Method | As",
            "values": {
                "Self | mixed": {},
                "Self | copied": {"mixing": "unmixed"},
                "Self | ordered": {"mixing": "unmixed", "batches": "fixed-order"},
            },
        }
    ],
    "columns": [{"axis": "Nominal", "epsilon": [2, 8]}],
    "fixed": {"dataset": "digits-300", "model": "tiny-vit", "method": "dp-mix-self"},
    "tuned_as": {"mixing": "mixup", "batches": "poisson"},
    "compare": {"Self | mixed": ["Self | copied", "Self | ordered"]},
}


@pytest.fixture
def raw(repository: Path) -> Params:
    found: Params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    demo = found["scales"]["demo"]
    found["scales"] = {"demo": {**demo, "figures": {}, "tables": {"mine": copy.deepcopy(TABLE)}}}
    return found


def leave(catalogue: Catalogue, fixed_order: float) -> None:
    """Records in which mixing adds 1, 2 and 3 points to the three seeds, and the best epoch half a point to each."""
    for run in catalogue.of(Experiment):
        assert isinstance(run, Experiment)
        accuracy = 80 + run.epsilon + (run.seed if run.mixing == "mixup" else 0) + 0.1 * run.seed
        spent = fixed_order + run.epsilon if run.batches == "fixed-order" else run.epsilon - 0.001
        record = {"accuracy": accuracy, "best_epoch_on_test": accuracy + 0.5, "epsilon": {"rdp": spent}}
        write_json(run.path("demo"), record)


def test_what_is_shown(raw: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    catalogue = Catalogue(parse(raw))
    leave(catalogue, fixed_order=10.003)
    table = build("mine", catalogue)
    assert table.column_names == ("Nominal", "Epoch")
    assert len(table.cells) == 3 * 2 * 2
    grid = table.grid
    for (row, column), cell in grid.items():
        (other,) = {"last epoch", "best on test"} - {column[1]}
        less = 0.5 if column[1] == "best on test" else -0.5
        assert cell.values == pytest.approx([value + less for value in grid[row, (column[0], other)].values])
        assert bool(cell.note) == (row[1] == "ordered")
    noted = {cell.note for cell in table.cells if cell.note}
    assert noted == {
        "batches in a fixed order: ε executed is 12.01, and 2 is nominal",
        "batches in a fixed order: ε executed is 18.01, and 8 is nominal",
    }
    text = markdown(table)
    same = "Self, mixed minus Self, {}, mean over seeds and its 95 % interval: ε = 2: +2.0 [−0.5, +4.5]; ε = 8: +2.0"
    assert same.format("copied") in text
    assert same.format("ordered") in text
    assert "adds 0.5 points to the last epoch's" in text


def test_a_median_is_shown_where_it_is_asked_for(raw: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw["scales"]["demo"]["tables"]["mine"]["statistic"] = "median"
    catalogue = Catalogue(parse(raw))
    for run in catalogue.of(Experiment):
        assert isinstance(run, Experiment)
        accuracy = {1: 10.0, 2: 20.0, 3: 90.0}[run.seed]
        write_json(
            run.path("demo"), {"accuracy": accuracy, "best_epoch_on_test": accuracy + 1, "epsilon": {"rdp": 1.0}}
        )
    cells = build("mine", catalogue).cells
    assert {(cell.column[1], cell.center) for cell in cells} == {("last epoch", 20.0), ("best on test", 21.0)}


def test_rows_are_compared_where_both_have_a_cell(raw: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw["scales"]["demo"]["tables"]["mine"]["omit"] = [
        {"Method": "Self", "As": "copied", "Nominal": "ε = 2"},
        {"Method": "Self", "As": "ordered"},
    ]
    catalogue = Catalogue(parse(raw))
    leave(catalogue, fixed_order=10.0)
    notes = [note for note in build("mine", catalogue).notes if "minus" in note]
    how = "mean over seeds and its 95 % interval"
    assert notes == [f"Self, mixed minus Self, copied, {how}: ε = 8: +2.0 [−0.5, +4.5]."]


def test_nothing_is_tuned_for_what_was_released(raw: Params) -> None:
    """So that runs differ in the views and the order alone."""
    catalogue = Catalogue(parse(raw))
    runs = [run for run in catalogue.of(Experiment) if isinstance(run, Experiment)]
    assert len(runs) == 3 * 2 * 3
    rates = {(run.epsilon, run.learning_rate.hash) for run in runs}  # type: ignore[union-attr]
    assert len(rates) == 2
    assert {run.mixing for run in runs} == {"mixup", "unmixed"}
    assert {run.batches for run in runs} == {"poisson", "fixed-order"}


def test_both_scales_show_the_same_rows(repository: Path) -> None:
    params = parse(yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8")))
    demo, paper = (Catalogue(params, scale).cells("released") for scale in ("demo", "paper"))
    assert [(cell.row, cell.column) for cell in demo] == [(cell.row, cell.column) for cell in paper]
    of_table3 = {run.path("paper") for cell in Catalogue(params, "paper").cells("3") for run in cell.artefacts}
    for cell in paper:
        # What is published is Table 3's, made once.
        assert all((run.path("paper") in of_table3) == (cell.row[1] == "published") for run in cell.artefacts)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"compare": {"Self | mixed": []}}, "should have at least one entry"),
        ({"ladder": {"method": "self-aug"}}, "unknown key"),
    ],
)
def test_what_does_not_fit_is_one_line(raw: Params, change: Params, words: str) -> None:
    raw["scales"]["demo"]["tables"]["mine"] |= change
    with pytest.raises(ParamsError) as caught:
        Catalogue(parse(raw))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
