import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpmix.tables.cells import Cell, PaperValue, Table, from_json, to_json


def table(*cells: Cell) -> Table:
    return Table("1", "title", "caption", "unit", ("Dataset",), ("ε",), cells, "demo")


def test_statistics_over_seeds() -> None:
    cell = Cell(("a",), ("b",), (70.0, 72.0, 77.0), paper=PaperValue(72.5, 0.5, "72.5 (.5)"))
    assert cell.mean == cell.center == 73.0
    assert cell.sd == pytest.approx(13**0.5)  # squares 9 + 1 + 16 over 3 - 1, not over 3
    assert cell.seeds == 3
    assert cell.difference == 0.5


def test_median_where_the_cell_asks_for_it() -> None:
    cell = Cell(("a",), ("b",), (70.0, 72.0, 77.0), paper=PaperValue(72.5, 0.5, "72.5 (.5)"), statistic="median")
    assert (cell.mean, cell.center, cell.difference) == (73.0, 72.0, -0.5)


def test_one_seed_has_no_deviation_and_none_has_no_mean() -> None:
    assert Cell(("a",), ("b",), (3.0,)).sd is None
    empty = Cell(("a",), ("b",), note="N/A", paper=PaperValue(1.0, None, "1.0"))
    assert (empty.mean, empty.center, empty.sd, empty.seeds, empty.difference) == (None, None, None, 0, None)
    assert Cell(("a",), ("b",), (3.0,), paper=PaperValue(None, None, "N/A")).difference is None


def test_order_is_that_of_first_appearance() -> None:
    ragged = table(Cell(("b",), ("2",)), Cell(("a",), ("1",)), Cell(("b",), ("1",)))
    assert ragged.rows == (("b",), ("a",))
    assert ragged.columns == (("2",), ("1",))
    assert (("a",), ("2",)) not in ragged.grid


def test_keys_must_fit_and_differ() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        table(Cell(("a", "b"), ("1",)))
    with pytest.raises(ValueError, match="two cells"):
        table(Cell(("a",), ("1",), (1.0,)), Cell(("a",), ("1",), (2.0,)))


def test_a_paper_that_prints_no_number_is_not_beside() -> None:
    assert not table(Cell(("a",), ("1",), paper=PaperValue(None, None, "N/A"))).has_paper
    assert table(Cell(("a",), ("1",), paper=PaperValue(1.0, None, "1.0"))).has_paper


numbers = st.floats(-1e6, 1e6)
papers = st.none() | st.builds(PaperValue, st.none() | numbers, st.none() | numbers, st.text(max_size=5))
cells = st.builds(
    Cell,
    st.tuples(st.text(max_size=3)),
    st.tuples(st.text(max_size=3)),
    st.lists(numbers, max_size=4).map(tuple),
    st.none() | numbers,
    st.text(max_size=5),
    papers,
    st.sampled_from(["mean", "median"]),
)


@given(st.lists(cells, max_size=5, unique_by=lambda cell: (cell.row, cell.column)))
def test_json_keeps_everything(several: list[Cell]) -> None:
    whole = table(*several)
    assert from_json(json.loads(json.dumps(to_json(whole)))) == whole
