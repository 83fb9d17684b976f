"""Tables with made-up measurements in the paper's layouts, for the tests of what is written from them."""

from collections.abc import Callable

import pytest

from dpmix.tables.captions import MINUTES, TABLES
from dpmix.tables.cells import Cell, Table
from dpmix.tables.published import published


def _made(number: int, *, paper: bool = True, scale: str = "paper") -> Table:
    """Table `number` with three seeds around the paper's values; one cell has a note, and Table 1 its empty cell."""
    layout = TABLES[number]
    cells = []
    for index, ((row, column), value) in enumerate(published(number).values.items()):
        if value.mean is None:
            cells.append(Cell(row, column, note="N/A", paper=value if paper else None))
            continue
        values = tuple(value.mean + (index % 7 - 3) / 10 + apart for apart in (-0.25, 0.0, 0.35))
        target = next((float(key[4:]) for key in row + column if key.startswith("ε = ")), 1.0)
        cells.append(
            Cell(
                row,
                column,
                values,
                epsilon=None if layout.unit == MINUTES else target * 0.9991,
                note="64 % of the images, & all_classes" if index == 1 else "",
                paper=value if paper else None,
                statistic="median" if number == 11 else "mean",
            )
        )
    return Table(
        number,
        layout.title,
        layout.caption,
        layout.unit,
        layout.row_names,
        layout.column_names,
        tuple(cells),
        scale,
        notes=("Chosen on 10 % of the training set.",),
    )


@pytest.fixture(scope="session")
def made() -> Callable[..., Table]:
    """`made(number, paper=True, scale="paper")`: a table with made-up measurements."""
    return _made
