"""Which learning rates were chosen at an end of their grid: a better one may lie beyond it, so the table says so."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dpmix.tables.cells import Key
from dpmix.tables.text import heading


@dataclass(frozen=True)
class Choice:
    """The learning rate that was chosen for one cell, and the grid that it was chosen from, in any order.

    Both are lr·C, the learning rate in units of 1 / C: what an example adds to a step is lr·C times a vector of length
    at most one, whatever C is.
    """

    row: Key
    column: Key
    chosen: float
    grid: tuple[float, ...]


def end_of_grid(chosen: float, grid: Sequence[float]) -> Literal["smallest", "largest"] | None:
    """At which end of its grid a value is; None inside it, and in a grid of one value, which has no ends."""
    low, high = min(grid), max(grid)
    if low == high:
        return None
    if math.isclose(chosen, high, rel_tol=1e-9):
        return "largest"
    return "smallest" if math.isclose(chosen, low, rel_tol=1e-9) else None


def footer(choices: Sequence[Choice]) -> str | None:
    """What a table says of the learning rates chosen for its cells; None where none was chosen."""
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
    """The cells of some choices: row by row, and where it is not all of a row, its columns."""
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
