"""The words and lines that `compare` writes beside its table."""

import pytest

from dpmix.own.research.comparison_report import references
from dpmix.tables.cells import Cell, Table
from dpmix.tables.kinds.accuracy import NON_PRIVATE, ZERO_SHOT


def table(*cells: Cell) -> Table:
    return Table(
        name="comparison", title="", caption="", unit="accuracy", row_names=("Method",), column_names=("ε",),
        cells=cells, scale="compare",
    )  # fmt: skip


@pytest.mark.parametrize("has_text", [False, True])
def test_references_are_those_that_there_are(has_text: bool) -> None:
    cells = [Cell(("Self-Aug",), ("ε = 1",), (70.0,)), Cell((NON_PRIVATE,), ("ε = 1",), (81.0, 82.0), end=True)]
    if has_text:
        cells.append(Cell((ZERO_SHOT,), ("ε = 1",), (40.0,), end=True))
    found = references(table(*cells), 90.0)
    assert found == {"no privacy": (90.0,), "clipped, no noise": (81.0, 82.0)} | (
        {"zero-shot": (40.0,)} if has_text else {}
    )
