"""Compares the tables of two runs cell by cell: is a difference larger than the spread between seeds explains?"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dpmix.tables.captions import MINUTES
from dpmix.tables.cells import Cell, Key, Table
from dpmix.tables.statistics import pooled_sd
from dpmix.tables.text import ours

LIMIT = 2.0
"""How far apart two means may be to agree, in pooled standard deviations."""

# With other params, hundreds of cells may be on one side only; no more than this many are listed.
_LISTED = 10

Verdict = Literal["within", "outside", "alone", "single", "time", "not run"]
"""The outcome of comparing two cells.

- `within`, `outside`: the cells agree, or do not; see `compare`.
- `alone`: measured on one side only.
- `single`: both have one value, and so no standard deviation to compare with.
- `time`: running times, which compare on like hardware only.
- `not run`: measured on neither side.
"""


@dataclass(frozen=True)
class Pair:
    """A cell of a table and the cell with the same labels in the reference table.

    Attributes:
        table: the table's name.
        place: the labels, the row's first.
        found: the table's cell, or None.
        reference: the reference's cell, or None.
        found_text: what the table prints for it.
        reference_text: what the reference prints for it.
        verdict: the outcome of the comparison.
    """

    table: str
    place: Key
    found: Cell | None
    reference: Cell | None
    found_text: str
    reference_text: str
    verdict: Verdict

    @property
    def name(self) -> str:
        """The cell by name: table and labels, rows first."""
        return ", ".join((f"Table {self.table}", *(label for label in self.place if label)))

    @property
    def same(self) -> bool:
        """Whether both sides print the same."""
        return self.found_text == self.reference_text

    @property
    def relative_difference(self) -> float:
        """|found - reference| / |reference| of the cells' means (or medians); infinite if the reference is 0."""
        found, reference = _centers(self.found, self.reference)
        return abs(found - reference) / abs(reference) if reference else math.inf


def compare(found: Table, reference: Table) -> tuple[Pair, ...]:
    """Compare every cell of `found` with the cell of `reference` that has the same labels.

    Two cells agree (`within`) if what they show (mean, or median in Table 11) differs by no more than `LIMIT` pooled
    standard deviations over seeds, or prints the same. For three seeds each, that is 2.45 standard errors of the
    difference: if seeds were all that differed, 7 % of the cells would lie outside. Runs from the same seeds share
    initial weights, samples and noise, and differ less.

    Returns:
        Pairs in the order of `reference`, then those that only `found` has.
    """
    here, there = found.grid, reference.grid
    return tuple(_pair(found, reference, key, here.get(key), there.get(key)) for key in dict.fromkeys([*there, *here]))


def _pair(table: Table, other: Table, key: tuple[Key, Key], found: Cell | None, reference: Cell | None) -> Pair:
    texts = (ours(found, table), ours(reference, other))
    verdict = _verdict(found, reference, texts[0] == texts[1], MINUTES in (table.unit, other.unit))
    return Pair(other.name, key[0] + key[1], found, reference, *texts, verdict)


def _verdict(found: Cell | None, reference: Cell | None, same: bool, time: bool) -> Verdict:
    if found is None or reference is None:
        return "alone"
    if not found.values and not reference.values:
        return "not run"
    if not found.values or not reference.values:
        return "alone"
    if time:
        return "time"
    sd = pooled_sd(found.values, reference.values)
    if sd is None:
        return "single"
    here, there = _centers(found, reference)
    return "within" if same or abs(here - there) <= LIMIT * sd else "outside"


def _centers(found: Cell | None, reference: Cell | None) -> tuple[float, float]:
    assert found is not None
    assert reference is not None
    assert found.center is not None
    assert reference.center is not None
    return found.center, reference.center


def agrees_with_paper(cell: Cell) -> bool | None:
    """Whether what a cell shows is within `LIMIT` pooled standard deviations of what the paper prints for it.

    The paper's standard deviation counts as one of as many runs as the cell has, since it does not always say of how
    many it is.

    Returns:
        None if either has no number, or neither a standard deviation.
    """
    if cell.difference is None or cell.paper is None:
        return None
    sds = [sd for sd in (cell.sd, cell.paper.sd) if sd is not None]
    if not sds:
        return None
    pooled = math.sqrt(sum(sd**2 for sd in sds) / len(sds))
    return abs(cell.difference) <= LIMIT * pooled


def disagree(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs that differ by more than `LIMIT` standard deviations, and the cells that one side lacks."""
    return [pair for pair in pairs if pair.verdict in ("outside", "alone")]


def summary(pairs: Iterable[Pair]) -> list[str]:
    """A report in lines: how many pairs agree, the name of each that does not, and what was not compared."""
    of: dict[Verdict, list[Pair]] = {}
    for pair in pairs:
        of.setdefault(pair.verdict, []).append(pair)
    within, outside, alone, single = (of.get(one, []) for one in ("within", "outside", "alone", "single"))
    lines = []
    if compared := len(within) + len(outside):
        lines.append(
            f"Within {LIMIT:g} standard deviations over seeds (pooled): {len(within)} of {compared} cells; "
            f"{_same(within)} print the same."
        )
    if outside:
        lines += [f"Further apart: {len(outside)}.", *(f"  {_beside(pair)}" for pair in outside)]
    if alone:
        lines += [f"On one side only: {len(alone)}.", *(f"  {_beside(pair)}" for pair in alone[:_LISTED])]
        lines += [f"  and {len(alone) - _LISTED} more"] if len(alone) > _LISTED else []
    if single:
        furthest = max(single, key=lambda pair: pair.relative_difference)
        apart = "" if furthest.same else f"; the furthest apart is {_beside(furthest)}"
        lines.append(f"Without a standard deviation (one value): {len(single)}; {_same(single)} print the same{apart}.")
    left_out = (("running times", of.get("time")), ("cells that were not run", of.get("not run")))
    if some := [f"{what} ({len(left)})" for what, left in left_out if left]:
        lines.append(f"Not compared: {', '.join(some)}.")
    return lines


def _same(pairs: list[Pair]) -> int:
    return sum(pair.same for pair in pairs)


def _beside(pair: Pair) -> str:
    return f"{pair.name}: {pair.found_text}, reference {pair.reference_text}"
