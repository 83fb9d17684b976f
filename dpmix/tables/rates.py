"""Notes which learning rates were chosen at an end of their grid: a better one may lie beyond the grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dpmix.tables.cells import Key
from dpmix.tables.text import heading


@dataclass(frozen=True)
class Choice:
    """The learning rate that was chosen for one cell, and its candidates in any order.

    All are given as lr·C, learning rate times clip norm, which can be compared across clip norms: a clipped gradient
    has norm at most C, so in a step of plain SGD an example moves the weights by at most lr·C / B.
    """

    row: Key
    column: Key
    chosen: float
    grid: tuple[float, ...]


def end_of_grid(chosen: float, grid: Sequence[float]) -> Literal["smallest", "largest"] | None:
    """Whether a value is the smallest or the largest of its grid; None for neither, and for a grid of one value."""
    low, high = min(grid), max(grid)
    if low == high:
        return None
    if math.isclose(chosen, high, rel_tol=1e-9):
        return "largest"
    return "smallest" if math.isclose(chosen, low, rel_tol=1e-9) else None


def footer(choices: Sequence[Choice]) -> str | None:
    """The note below a table on the learning rates chosen for its cells; None if none was chosen."""
    if not choices:
        return None
    grids = dict.fromkeys(f"{min(choice.grid):.3g} to {max(choice.grid):.3g}" for choice in choices)
    said = []
    for end in ("largest", "smallest"):
        there = [choice for choice in choices if end_of_grid(choice.chosen, choice.grid) == end]
        if there:
            said.append(f"the {end} was chosen for {_places(there, choices)}")
    what = ", and ".join(said) or "none was chosen at an end"
    return f"Learning rates: lr·C from {' and '.join(grids)}; {what}."


def _places(there: Sequence[Choice], choices: Sequence[Choice]) -> str:
    """The cells of `there` in words: the labels of each row, followed by its columns if not all of them are meant."""
    if len(there) == len(choices):
        return "all cells"
    places = []
    for row in dict.fromkeys(choice.row for choice in there):
        name = " / ".join(label for label in row if label)
        here = [choice.column for choice in there if choice.row == row]
        columns = "; ".join(heading(column) for column in here)
        if not name:
            places.append(columns)
        elif len(here) == sum(choice.row == row for choice in choices):
            places.append(name)
        else:
            places.append(f"{name} ({columns})")
    return ", ".join(places)
