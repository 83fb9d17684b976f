import pytest

from dpmix.report.differences import above, to_paper
from dpmix.tables.cells import Cell, PaperValue, Table
from dpmix.tables.statistics import paired_difference


def table(*cells: Cell) -> Table:
    return Table("3", "T", "C", "test accuracy (%)", ("Dataset", "Method"), ("ε",), cells, "demo")


def cell(dataset: str, method: str, *values: float, column: str = "1", end: bool = False) -> Cell:
    return Cell((dataset, method), (column,), values, end=end)


def test_a_cell_is_compared_with_the_one_above_it_in_its_group_and_column() -> None:
    cells = (
        cell("a", "x", 80.0, 81.0, 82.0), cell("a", "x", 1.0, 2.0, 3.0, column="2"),
        cell("a", "y", 81.0, 83.0, 85.0), cell("a", "y", column="2"),
        cell("a", "z", 80.0, 80.0, 80.0), cell("a", "z", 5.0, 5.0, 5.0, column="2"),
        cell("a", "Non-private", 99.0, end=True),
        cell("b", "x", 70.0, 71.0, 72.0),
    )  # fmt: skip
    found = above(table(*cells), [(1, 2, 3)[: one.seeds] for one in cells])
    assert [one and one.label for one in found] == [None, None, "x", None, "y", "x", None, None]
    expected = paired_difference(cells[2].values, cells[0].values)
    assert (found[2].estimate, found[2].low, found[2].high, found[2].seeds) == (
        expected.estimate, expected.low, expected.high, 3
    )  # fmt: skip
    assert found[5].estimate == 3.0  # the row between has nothing in this column


def test_only_seeds_that_both_have_are_compared() -> None:
    cells = (cell("a", "x", 80.0, 90.0, 70.0), cell("a", "y", 72.0, 83.0))
    (_, found) = above(table(*cells), [(1, 2, 3), (3, 1)])
    assert (found.estimate, found.seeds) == (pytest.approx(2.5), 2)
    (_, one) = above(table(*cells), [(1, 2, 3), (3, 7)])
    assert (one.estimate, one.low, one.high, one.seeds) == (2.0, None, None, 1)
    assert above(table(*cells), [(1, 2, 3), (8, 9)])[1] is None


def test_the_difference_to_the_paper_has_the_interval_of_the_runs() -> None:
    paper = PaperValue(80.0, 0.5, "80.0 (.5)")
    found = to_paper(Cell((), (), (81.0, 83.0, 85.0), paper=paper))
    expected = paired_difference((81.0, 83.0, 85.0), (80.0, 80.0, 80.0))
    assert (found.estimate, found.low, found.high) == pytest.approx((3.0, expected.low, expected.high))
    one = to_paper(Cell((), (), (81.0,), paper=paper))
    assert (one.estimate, one.low) == (1.0, None)
    median = to_paper(Cell((), (), (81.0, 83.0, 90.0), paper=paper, statistic="median"))
    assert (median.estimate, median.low) == (3.0, None)
    assert to_paper(Cell((), (), (81.0,))) is None
    assert to_paper(Cell((), (), paper=paper)) is None
