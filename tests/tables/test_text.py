import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpmix.tables.captions import MINUTES
from dpmix.tables.cells import Cell, PaperValue, Table
from dpmix.tables.text import (
    BLOCK,
    blocks,
    duration,
    footers,
    group_starts,
    heading,
    marks,
    number,
    ours,
    papers,
)


def table(*cells: Cell, unit: str = "test accuracy (%)", decimals: int = 1) -> Table:
    levels = len(cells[0].column) if cells else 1
    return Table("1", "t", "c", unit, ("Method",), ("Model", "ε")[-levels:], cells, "demo", decimals)


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (132, "2 h 12 min"),
        (60, "1 h"),
        (59.995, "1 h"),
        (3.5, "3 min 30 s"),
        (2, "2 min"),
        (0.9999, "1 min"),
        (0.4, "24 s"),
        (0.01, "0.6 s"),
        (0.1659, "10 s"),
        (0, "0.0 s"),
    ],
)
def test_durations(minutes: float, text: str) -> None:
    assert duration(minutes) == text


def test_cells_read_as_in_the_paper() -> None:
    plain = table()
    assert ours(Cell(("a",), ("1",), (72.0, 73.0)), plain) == "72.5 (.7)"
    assert ours(Cell(("a",), ("1",), (70.0, 76.0)), plain) == "73.0 (4.2)"
    assert ours(Cell(("a",), ("1",), (72.04,)), plain) == "72.0"
    assert ours(Cell(("a",), ("1",), note="N/A"), plain) == "N/A"
    assert ours(Cell(("a",), ("1",)), plain) == ours(None, plain) == "–"
    assert ours(Cell(("a",), ("1",), (1.0, 2.0)), table(unit=MINUTES)) == "1 min 30 s (42 s)"
    assert ours(Cell(("a",), ("1",), (0.12345, 0.12345)), table(decimals=3)) == "0.123 (.000)"


def test_negative_numbers_have_a_minus_and_zero_has_none() -> None:
    assert number(-3.21, table()) == "−3.2"
    assert number(-0.01, table()) == "0.0"


def test_papers_entry_stands_beside_a_number_only() -> None:
    empty = PaperValue(None, None, "N/A")
    assert papers(Cell(("a",), ("1",), (1.0,), paper=empty)) == "N/A"
    assert papers(Cell(("a",), ("1",), paper=empty)) is None
    assert papers(Cell(("a",), ("1",), paper=PaperValue(1.0, 0.5, "1.0 (.5)"))) == "1.0 (.5)"
    assert papers(Cell(("a",), ("1",), (1.0,))) is papers(None) is None


@given(st.integers(0, 60))
def test_blocks_are_narrow_enough_and_lose_nothing(count: int) -> None:
    wide = table(*(Cell(("a",), (str(index),)) for index in range(count)))
    parts = blocks(wide)
    assert [column for part in parts for column in part] == list(wide.columns)
    assert all(len(part) <= BLOCK for part in parts)
    assert len(parts) == max(1, -(-count // BLOCK))


def test_the_ends_of_a_ladder_leave_the_papers_blocks_alone() -> None:
    ends = [Cell(("a",), (label,), (1.0,), math.inf, end=True) for label in ("zero", "infinite")]
    narrow = table(*(Cell(("a",), (str(index),)) for index in range(4)), *ends)
    assert blocks(narrow) == [narrow.columns]
    wide = table(*(Cell(("a",), (str(index),)) for index in range(27)), *ends)
    assert [len(part) for part in blocks(wide)] == [9, 9, 9, 2]
    assert blocks(wide)[-1] == (("zero",), ("infinite",))


def test_seeds_and_epsilon_are_those_of_private_runs() -> None:
    lines = footers(
        table(
            Cell(("a",), ("1",), (1.0, 2.0), 0.5),
            Cell(("zero",), ("1",), (3.0,), 0.0, end=True),
            Cell(("infinite",), ("1",), (1.0, 2.0), math.inf, end=True),
        )
    )
    assert lines[1:] == ("Seeds: 2.", "Largest ε executed: 0.500.")


def test_a_heading_leaves_out_empty_labels() -> None:
    assert heading(("K", "", "2")) == "K, 2"
    assert heading(()) == ""


def test_group_starts() -> None:
    assert group_starts([("a", "x"), ("a", "y"), ("b", "y"), ("b", "y")]) == [0, 1, 0, 2]
    assert group_starts([()]) == [0]


def test_footers_say_seeds_and_epsilon_once_when_they_agree() -> None:
    lines = footers(table(Cell(("a",), ("1",), (1.0, 2.0), 0.5), Cell(("b",), ("1",), (1.0, 2.0), 0.7)))
    assert lines[1:] == ("Seeds: 2.", "Largest ε executed: 0.700.")


def test_footers_go_by_the_level_that_decides() -> None:
    cells = [
        Cell((row,), (model, eps), (1.0,) * (3 if model == "V" else 5), float(eps[-1]) - 0.01)
        for row in "ab"
        for model in "VC"
        for eps in ("ε = 1", "ε = 2")
    ]
    lines = footers(table(*cells))
    assert "Seeds: V: 3; C: 5." in lines
    assert "Largest ε executed: ε = 1: 0.990; ε = 2: 1.990." in lines


def test_footers_name_columns_when_no_level_decides() -> None:
    spent = {("V", "1"): 1.0, ("V", "2"): 2.0, ("C", "1"): 3.0, ("C", "2"): None}
    cells = [Cell(("a",), column, (1.0,), epsilon) for column, epsilon in spent.items()]
    lines = footers(table(*cells))
    assert "Largest ε executed: V, 1: 1.000; V, 2: 2.000; C, 1: 3.000; C, 2: none." in lines


def test_footers_ignore_cells_without_runs() -> None:
    lines = footers(table(Cell(("a",), ("1",), (1.0, 2.0)), Cell(("b",), ("1",), note="not installed")))
    assert lines == ("Cells: mean (sample standard deviation over seeds).", "Seeds: 2.")


def test_notes_beside_numbers_get_letters() -> None:
    noted = table(
        Cell(("a",), ("1",), (1.0,), note="own split"),
        Cell(("b",), ("1",), (1.0,), note="64 px"),
        Cell(("c",), ("1",), (1.0,), note="own split"),
        Cell(("d",), ("1",), note="N/A"),
    )
    assert marks(noted) == {"own split": "a", "64 px": "b"}
    assert footers(noted)[-2:] == ("[a] own split.", "[b] 64 px.")
