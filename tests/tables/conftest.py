"""Tables with made-up measurements in the paper's layouts, for the tests of what is written from them."""

from collections.abc import Callable

import pytest

from dpmix.tables.captions import ACCURACY, DISTANCE, MINUTES, TABLES
from dpmix.tables.cells import Cell, Table
from dpmix.tables.published import published


def _made(name: str, *, paper: bool = True, scale: str = "paper") -> Table:
    """The paper's table of that name with three seeds around its values; one cell has a note, Table 1 an empty one."""
    layout = TABLES[name]
    unit = MINUTES if name == "13" else DISTANCE if name in ("7", "8") else ACCURACY
    cells = []
    for index, ((row, column), value) in enumerate(published(name).values.items()):
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
                epsilon=None if unit == MINUTES else target * 0.9991,
                note="64 % of the images, & all_classes" if index == 1 else "",
                paper=value if paper else None,
                statistic="median" if name == "11" else "mean",
            )
        )
    return Table(
        name,
        layout.title,
        layout.caption,
        unit,
        layout.row_names,
        layout.column_names,
        tuple(cells),
        scale,
        notes=("Chosen on 10 % of the training set.",),
    )


@pytest.fixture(scope="session")
def made() -> Callable[..., Table]:
    """`made(name, paper=True, scale="paper")`: a table with made-up measurements."""
    return _made
