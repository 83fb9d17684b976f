"""Differences that a cell of the report shows: to the cell above it, seed by seed, and to the paper's number."""

from collections.abc import Sequence
from dataclasses import dataclass

from dpmix.tables.cells import Cell, Key, Table
from dpmix.tables.statistics import mean_interval, paired_difference


@dataclass(frozen=True)
class Difference:
    """How much larger a cell is than what it is compared with.

    Attributes:
        label: what is subtracted.
        estimate: the difference, in the table's unit.
        low: the lower end of its 95 % interval; None from a single seed, and so is `high`.
        high: the upper end.
        seeds: how many pairs of runs with the same seed it is the mean of.
    """

    label: str
    estimate: float
    low: float | None
    high: float | None
    seeds: int


def above(table: Table, seeds: Sequence[Sequence[int]]) -> tuple[Difference | None, ...]:
    """For each cell, the difference to the nearest cell with values above it, in its column and group of rows.

    A group is the rows that have all labels but the last in common. Only seeds that both cells have are compared.

    Args:
        table: the table.
        seeds: for each of its cells, the seeds of its values.

    Returns:
        In the order of the table's cells; None for a reference, and for a cell that has nothing above it.
    """
    places = {(cell.row, cell.column): place for place, cell in enumerate(table.cells)}
    last: dict[tuple[Key, Key], int] = {}
    found: dict[int, Difference | None] = {}
    for row in table.rows:
        for column in table.columns:
            place = places.get((row, column))
            if place is None or not table.cells[place].values or table.cells[place].end:
                continue
            upper = last.get((row[:-1], column))
            if upper is not None:
                found[place] = _paired(table, place, upper, seeds)
            last[row[:-1], column] = place
    return tuple(found.get(place) for place in range(len(table.cells)))


def _paired(table: Table, place: int, upper: int, seeds: Sequence[Sequence[int]]) -> Difference | None:
    ours, theirs = (dict(zip(seeds[one], table.cells[one].values, strict=True)) for one in (place, upper))
    both = [seed for seed in ours if seed in theirs]
    if not both:
        return None
    label = ", ".join(part for part in table.cells[upper].row[-1:] if part)
    values, others = [ours[seed] for seed in both], [theirs[seed] for seed in both]
    if len(both) < 2:
        return Difference(label, values[0] - others[0], None, None, 1)
    interval = paired_difference(values, others)
    return Difference(label, interval.estimate, interval.low, interval.high, len(both))


def to_paper(cell: Cell) -> Difference | None:
    """The difference to the number that the paper prints, which the interval takes to be exact.

    Returns:
        None if either has no number.
    """
    if cell.difference is None or cell.paper is None or cell.paper.mean is None:
        return None
    if cell.seeds < 2 or cell.statistic == "median":
        return Difference("the paper", cell.difference, None, None, cell.seeds)
    interval = mean_interval(cell.values)
    mean = cell.paper.mean
    return Difference("the paper", cell.difference, interval.low - mean, interval.high - mean, cell.seeds)
