"""Judges claims: on a scale's runs, by paired differences over seeds, and on the numbers that the paper prints."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from dpmix.claims import printed
from dpmix.claims.entries import Claim
from dpmix.claims.pairs import Contrast, Pair
from dpmix.claims.verdicts import Bounds, Estimate, Verdict, bounds, of_claim, of_part, seeds_needed
from dpmix.errors import DataError
from dpmix.tables.cells import PaperValue
from dpmix.tables.statistics import CONFIDENCE, Interval, sample_sd

T = TypeVar("T")
Values = Callable[[T], Mapping[int, float]]
"""The numbers of a cell by seed."""

SAME_EPSILON = 1e-9
"""The largest relative difference of two ε that are the same."""

NO_SPREAD = 1e-6
"""Differences whose standard deviation is at most this part of what is compared are the same but for rounding: records
keep accuracies to six digits after the point."""

_NO_ORDER = "no two of its points differ in what they should be ordered by"


@dataclass(frozen=True)
class PairResult:
    """What one pair of cells says.

    Attributes:
        label: of the pair.
        estimate: the mean difference over seeds, or the logarithm of the ratio.
        interval: its interval; None for one seed.
        against: whether this pair by itself contradicts the claim, at 0.05 divided by the claim's number of pairs.
    """

    label: str
    estimate: float
    interval: Interval | None = None
    against: bool = False


@dataclass(frozen=True)
class PartResult:
    """What one part of a claim says.

    Attributes:
        label: what it compares.
        verdict: on this part.
        estimate: the mean over pairs and seeds.
        interval: its 95 % interval; None without one.
        sd: over seeds, of the mean over pairs; None on the paper's numbers.
        seeds: how many there are.
        why: why there is no interval, or why it decides nothing; empty if there is nothing to say.
        pairs: those that it is the mean of.
    """

    label: str
    verdict: Verdict
    estimate: float
    interval: Interval | None
    sd: float | None
    seeds: int
    why: str
    pairs: tuple[PairResult, ...]


@dataclass(frozen=True)
class Finding:
    """What runs, or the paper's numbers, say of a claim.

    Attributes:
        verdict: None if there is nothing to judge it by.
        parts: of the claim, those that were compared.
        needed: for an undecided claim, the seeds that would decide it: a number, `inf` for more than
            `verdicts.MOST_SEEDS`; None if the claim is decided or nothing is known of its spread.
        why: why there is no verdict, or why it is undecided; empty if there is nothing to say.
    """

    verdict: Verdict | None
    parts: tuple[PartResult, ...] = ()
    needed: float | None = None
    why: str = ""

    def weakest(self, allowed: Bounds) -> PartResult | None:
        """The part that is furthest from being supported; None without parts."""

        def slack(part: PartResult) -> float:
            return -math.inf if part.interval is None else allowed.slack(part.interval)

        contradicted = [part for part in self.parts if part.verdict == "contradicted"]
        return min(contradicted or self.parts, key=slack, default=None)


def of_runs(claim: Claim, contrasts: Sequence[Contrast[T]], values: Values[T], epsilons: Values[T]) -> Finding:
    """Judge a claim by runs.

    For each seed the differences (or logarithms of ratios) are averaged over a part's pairs; the interval is Student's
    over these means. So what seeds share across methods cancels, and what they share across cells is not counted as
    several pieces of evidence.

    Args:
        claim: what is expected.
        contrasts: of its cells.
        values: a cell's numbers by seed.
        epsilons: the ε that a cell's runs executed, by seed.
    """
    if not contrasts:
        return Finding(None, why="this scale has none of its cells")
    if claim.expects == "same-epsilon":
        parts = tuple(_same_epsilon(contrast, epsilons) for contrast in contrasts)
        return Finding(of_claim([part.verdict for part in parts]), parts)
    oriented = [_oriented(contrast, values) for contrast in contrasts]
    allowed, pairs = bounds(claim.expects, claim.margin), sum(len(one.pairs) for one in oriented)
    if not pairs:
        return Finding("undecided", why=_NO_ORDER)
    parts = tuple(_of_seeds(one, claim, values, allowed, len(oriented), pairs) for one in oriented if one.pairs)
    return _finding(parts, allowed, len(oriented))


def of_paper(claim: Claim, contrasts: Sequence[Contrast[PaperValue]]) -> Finding:
    """Judge a claim by the means and standard deviations that the paper prints; see `printed.estimate`."""
    if not contrasts:
        return Finding(None, why="it prints none of these cells")
    if claim.expects == "same-epsilon":
        return Finding("undecided", why="it prints the ε that was aimed at, not what was executed")
    ratio, allowed = claim.compare == "ratio", bounds(claim.expects, claim.margin)
    oriented = [_oriented(contrast, lambda value: {0: _printed_mean(value)}) for contrast in contrasts]
    pairs = sum(len(one.pairs) for one in oriented)
    if not pairs:
        return Finding("undecided", why=_NO_ORDER)
    parts = []
    for contrast in oriented:
        if not contrast.pairs:
            continue
        estimate = printed.estimate(contrast.pairs, ratio)
        each = []
        for pair, center in zip(contrast.pairs, printed.centers(contrast.pairs, ratio), strict=True):
            alone = printed.estimate([pair], ratio)
            each.append(_pair(pair.place, center, alone, allowed, pairs))
        mean = math.fsum(one.estimate for one in each) / len(each)
        if estimate is None:
            why = "it prints no standard deviations"
            parts.append(PartResult(contrast.label, "undecided", mean, None, None, 0, why, tuple(each)))
            continue
        verdict = of_part(estimate, allowed, len(oriented))
        interval = estimate.interval()
        parts.append(PartResult(contrast.label, verdict, mean, interval, None, printed.SEEDS, "", tuple(each)))
    return replace(_finding(tuple(parts), allowed, len(oriented)), needed=None)


def _printed_mean(value: PaperValue) -> float:
    assert value.mean is not None
    return value.mean


def _finding(parts: tuple[PartResult, ...], allowed: Bounds, count: int) -> Finding:
    verdict = of_claim([part.verdict for part in parts])
    if verdict != "undecided":
        return Finding(verdict, parts)
    return Finding(verdict, parts, _needed(parts, allowed, count), next((part.why for part in parts if part.why), ""))


def _needed(parts: Sequence[PartResult], allowed: Bounds, count: int) -> float | None:
    """The seeds that decide an undecided claim with probability 0.8, if mean and sd of each part are as observed.

    Where every part's mean is as claimed, all must be supported; otherwise one that is not must be contradicted.
    """
    spread = [(part.estimate, part.sd) for part in parts if part.sd is not None and part.sd > 0]
    if len(spread) < len(parts):
        return None
    wrong = [(mean, sd) for mean, sd in spread if not allowed.allow(mean)]
    confidence = 1 - (1 - CONFIDENCE) / count if wrong else CONFIDENCE
    counts = [seeds_needed(mean, sd, allowed, confidence) or math.inf for mean, sd in wrong or spread]
    return min(counts) if wrong else max(counts)


def _oriented(contrast: Contrast[T], values: Values[T]) -> Contrast[T]:
    """The contrast, with the pairs of points turned so that the cell with the smaller `by` is the higher one.

    Points with the same `by`, or without one, have no order, and are left out.
    """
    turned: list[Pair[T]] = []
    for pair in contrast.pairs:
        if not pair.by:
            turned.append(pair)
            continue
        if not all(map(values, pair.by)):
            continue
        first, second = (_mean(values(one).values()) for one in pair.by)
        if first < second:
            turned.append(pair)
        elif second < first:
            turned.append(pair.turned())
    return replace(contrast, pairs=tuple(turned))


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed)


def _of_seeds(
    contrast: Contrast[T], claim: Claim, values: Values[T], allowed: Bounds, parts: int, pairs: int
) -> PartResult:
    """One part by the seeds that all of its cells have."""
    ratio = claim.compare == "ratio"
    sides = [(values(pair.higher), values(pair.lower)) for pair in contrast.pairs]
    seeds = sorted(set.intersection(*(set(one) for side in sides for one in side)))
    differences = [
        [_difference(higher[seed], lower[seed], ratio) for seed in seeds] for higher, lower in sides
    ]  # one row for each pair
    if not seeds:
        nan = math.nan
        return PartResult(contrast.label, "undecided", nan, None, None, 0, "its cells have no seed in common", ())
    compared = [abs(one[seed]) for side in sides for one in side for seed in seeds]
    least = NO_SPREAD * (1.0 if ratio else max(compared))
    each = tuple(
        _pair(pair.place, _mean(row), _estimate(row, least), allowed, pairs)
        for pair, row in zip(contrast.pairs, differences, strict=True)
    )
    means = [_mean([row[at] for row in differences]) for at in range(len(seeds))]
    estimate = _estimate(means, least)
    if estimate is None:
        return PartResult(contrast.label, "undecided", means[0], None, None, 1, "one seed has no spread", each)
    why = "" if estimate.error else "every seed gives the same difference, which has no spread to judge by"
    verdict = of_part(estimate, allowed, parts)
    sd = sample_sd(means) if estimate.error else 0.0
    return PartResult(contrast.label, verdict, estimate.value, estimate.interval(), sd, len(seeds), why, each)


def _difference(higher: float, lower: float, ratio: bool) -> float:
    if ratio and not min(higher, lower) > 0:
        raise DataError(
            f"a ratio of {higher:g} and {lower:g} says nothing; delete the runs that claim to have taken no time, and "
            "make them again"
        )
    return math.log(higher / lower) if ratio else higher - lower


def _estimate(values: Sequence[float], least: float) -> Estimate | None:
    """The mean over seeds; None for one seed. A standard deviation of `least` or less is rounding, and counts as 0."""
    sd = sample_sd(values)
    if sd is None:
        return None
    return Estimate(_mean(values), sd / math.sqrt(len(values)) if sd > least else 0.0, len(values) - 1)


def _pair(label: str, center: float, estimate: Estimate | None, allowed: Bounds, pairs: int) -> PairResult:
    if estimate is None:
        return PairResult(label, center)
    against = of_part(estimate, allowed, pairs) == "contradicted"
    return PairResult(label, center, estimate.interval(), against)


def _same_epsilon(contrast: Contrast[T], epsilons: Values[T]) -> PartResult:
    """Whether every pair of runs with the same seed spent the same ε; this is not random."""
    each, seeds, lacking = [], set[int](), False
    for pair in contrast.pairs:
        higher, lower = epsilons(pair.higher), epsilons(pair.lower)
        common = higher.keys() & lower.keys()
        lacking |= not common
        apart = max((_apart(higher[seed], lower[seed]) for seed in common), default=math.nan)
        seeds |= common
        each.append(PairResult(pair.label, apart, against=apart > SAME_EPSILON))
    largest = max((one.estimate for one in each if not math.isnan(one.estimate)), default=math.nan)
    if any(one.against for one in each):
        verdict: Verdict = "contradicted"
    else:
        verdict = "undecided" if lacking else "supported"
    why = "its cells have no seed in common" if verdict == "undecided" else ""
    return PartResult(contrast.label, verdict, largest, None, None, len(seeds), why, tuple(each))


def _apart(one: float, other: float) -> float:
    """The relative difference of two ε; 0 for two that are infinite."""
    if one == other:
        return 0.0
    return abs(one - other) / other if 0 < other < math.inf else math.inf
