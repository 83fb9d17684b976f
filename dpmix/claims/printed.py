"""The paper's own numbers, and intervals from what it prints: means, standard deviations and the number of runs."""

import math
from collections.abc import Sequence

from dpmix.claims.pairs import Grid, Pair
from dpmix.claims.verdicts import Estimate
from dpmix.tables.cells import Key, PaperValue
from dpmix.tables.published import PAPERS, published, published_gradient_sd

SEEDS = 3
"""The runs behind a printed mean: "at least three independent runs" (§4)."""

ROUNDED = 0.05
"""How far a printed mean or standard deviation may be from the exact one: half of its last digit."""


def grid(name: str) -> Grid[PaperValue] | None:
    """The cells with a number of a table that the paper prints, or of `figure2`; None if it prints no such table."""
    if name == "figure2":
        values: dict[Key, PaperValue] = {
            key: PaperValue(sd, None, f"{sd:g}") for key, sd in published_gradient_sd().items()
        }
        return Grid(("Dataset", "Method"), values)
    if name not in PAPERS:
        return None
    table = published(name)
    cells = {row + column: value for (row, column), value in table.values.items() if value.mean is not None}
    return Grid((*table.row_names, *table.column_names), cells)


def centers(pairs: Sequence[Pair[PaperValue]], ratio: bool = False) -> list[float]:
    """The difference of the two means of each pair, or the logarithm of their ratio."""
    return [_center(pair.higher, ratio) - _center(pair.lower, ratio) for pair in pairs]


def _center(value: PaperValue, ratio: bool) -> float:
    assert value.mean is not None
    return math.log(value.mean) if ratio else value.mean


def estimate(pairs: Sequence[Pair[PaperValue]], ratio: bool = False) -> Estimate | None:
    """The mean over pairs of differences of printed means, as if all runs of all cells were independent (Welch).

    The estimate is the sum of c · mean over cells, where c is a cell's share; its variance is the sum of c² s² / n, and
    its degrees of freedom are Welch and Satterthwaite's. What rounding hides counts against a decision: a standard
    deviation is taken at the upper end of what is rounded to it, and the interval is wider by what rounding may have
    moved the mean. The paper's runs may share their seeds, but it prints no values to pair.

    Args:
        pairs: of cells that have a mean.
        ratio: whether to compare logarithms.

    Returns:
        None if there are no pairs, or a cell has no standard deviation.
    """
    cells = [(one, sign) for pair in pairs for one, sign in ((pair.higher, 1), (pair.lower, -1))]
    if not cells or any(value.sd is None for value, _ in cells):
        return None
    # A cell may be in several pairs; the same value object is the same cell.
    shares: dict[int, float] = {}
    values = {id(value): value for value, _ in cells}
    for value, sign in cells:
        shares[id(value)] = shares.get(id(value), 0.0) + sign / len(pairs)
    terms, rounding = [], 0.0
    for key, share in shares.items():
        value = values[key]
        assert value.sd is not None
        assert value.mean is not None
        unit = value.mean if ratio else 1.0
        terms.append((share * (value.sd + ROUNDED) / unit) ** 2 / SEEDS)
        rounding += abs(share) * ROUNDED / unit
    variance = sum(terms)
    squares = sum(term**2 for term in terms)
    freedom = (SEEDS - 1) * variance**2 / squares if squares else SEEDS - 1.0
    differences = centers(pairs, ratio)
    return Estimate(math.fsum(differences) / len(differences), math.sqrt(variance), freedom, rounding)
