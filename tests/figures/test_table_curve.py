"""The picture of tables: which cells are a curve, which a panel, and what cannot be drawn."""

from pathlib import Path

import pytest

from dpmix.errors import DataError, ParamsError
from dpmix.figures.table_curve import table_curve
from dpmix.tables.captions import ACCURACY
from dpmix.tables.cells import Cell, Table


def table(*cells: Cell, unit: str = ACCURACY, axis: str = "ε") -> Table:
    return Table("3", "T", "C", unit, ("Dataset", "Method"), ("Model", axis), cells, "demo")


def cell(dataset: str, method: str, epsilon: str, *values: float, end: bool = False) -> Cell:
    return Cell((dataset, method), ("Eye", epsilon), values, end=end)


CELLS = (
    cell("few", "Self-Aug", "ε = 1", 70.0, 71.0),
    cell("few", "Self-Aug", "ε = 8", 80.0, 80.4),
    cell("few", "Mixed", "ε = 1", 71.0, 72.0),
    cell("few", "Mixed", "ε = 8"),
    cell("few", "Non-private (ε = ∞)", "ε = 1", 84.0, 84.2, end=True),
    cell("few", "Non-private (ε = ∞)", "ε = 8", 84.0, 84.2, end=True),
    cell("many", "Self-Aug", "ε = 1", 90.0, 91.0),
)


def drawn(tmp_path: Path, *tables: Table) -> str:
    png, svg = table_curve(tables, tmp_path / "accuracy")
    assert png.stat().st_size > 5000
    return svg.read_text(encoding="utf-8")


def test_panels_are_data_sets_and_curves_methods(tmp_path: Path) -> None:
    text = drawn(tmp_path, table(*CELLS))
    for words in ("few", "many", "Self-Aug", "Mixed", "Non-private (ε = ∞)"):
        assert f"<!-- {words}" in text
    assert "95 % intervals" in text
    assert "Eye" not in text, "a label that all cells have says nothing"


def test_several_tables_are_one_picture(tmp_path: Path) -> None:
    apart = drawn(tmp_path, table(*CELLS[:-1]), table(CELLS[-1]))
    assert apart == drawn(tmp_path, table(*CELLS))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (table(*CELLS, unit="minutes"), "it has minutes by Dataset, Method, Model, ε; name one of accuracies"),
        (table(*CELLS, axis="C"), "it has test accuracy (%) by Dataset, Method, Model, C; name one of accuracies"),
        (table(cell("few", "Self-Aug", "twice", 70.0)), "has the label 'twice' on its axis ε, beside few, Self-Aug"),
    ],
)
def test_what_is_no_accuracy_against_epsilon_is_one_line(tmp_path: Path, made: Table, words: str) -> None:
    with pytest.raises(ParamsError) as caught:
        table_curve([made], tmp_path / "accuracy")
    assert words in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_table_that_is_not_made_yet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="have no accuracies; make them first"):
        table_curve([table(cell("few", "Self-Aug", "ε = 1"))], tmp_path / "accuracy")
