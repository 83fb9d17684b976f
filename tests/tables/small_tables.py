"""Small tables for the tests of the formats, and all tables of the paper by number."""

from collections.abc import Callable

import pytest

from dpmix.tables.captions import TABLES
from dpmix.tables.cells import Cell, PaperValue, Table

MakeTable = Callable[..., Table]

ALL = [
    pytest.param(number, paper, id=f"{number}{'-paper' if paper else ''}")
    for number in TABLES
    for paper in (True, False)
]


def small(*cells: Cell) -> Table:
    return Table("2", "Title", "Caption", "test accuracy (%)", ("Dataset", "Method"), ("Model", "ε"), cells, "demo")


RAGGED = small(
    Cell(("A", "x"), ("V", "1"), (70.0, 72.0), 0.5, paper=PaperValue(71.5, 0.2, "71.5 (.2)")),
    Cell(("A", "x"), ("V", "2"), (75.0,), 0.5),
    Cell(("A", "y"), ("V", "1"), note="not installed"),
    Cell(("B", "x"), ("C", "1"), (80.0,), note="half, of it"),
)


def grid_lines(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
