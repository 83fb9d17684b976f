"""Verdicts: what an interval says of an expectation, and how many seeds would decide it.

A claim with several parts is supported if every part is (an intersection-union test, whose level is that of one part),
and contradicted if any part is, each by an interval of confidence 1 - 0.05 / parts (Bonferroni).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from dpmix.claims.entries import Expects
from dpmix.tables.statistics import CONFIDENCE, Interval

Verdict = Literal["supported", "contradicted", "undecided"]

POWER = 0.8
MOST_SEEDS = 1000
"""Beyond this number of seeds, `seeds_needed` says that there are more."""


@dataclass(frozen=True)
class Bounds:
    """The differences that an expectation allows: more than `low` and less than `high`."""

    low: float
    high: float = math.inf

    def slack(self, interval: Interval) -> float:
        """How far the whole interval lies inside of the bounds; negative if part of it lies outside."""
        return min(interval.low - self.low, self.high - interval.high)

    def allow(self, value: float) -> bool:
        """Whether a value lies inside."""
        return self.low < value < self.high


def bounds(expects: Expects, margin: float | None = None) -> Bounds:
    """What differences (or logarithms of ratios) an expectation allows.

    >>> bounds("greater"), bounds("equal", 0.5)
    (Bounds(low=0.0, high=inf), Bounds(low=-0.5, high=0.5))
    """
    if margin is None:
        return Bounds(0.0)
    return Bounds(-margin, margin) if expects == "equal" else Bounds(-margin)


@cache
def quantile(confidence: float, freedom: float) -> float:
    """The t of a two-sided interval.

    >>> round(quantile(0.95, 2), 4)
    4.3027
    """
    from scipy import stats

    return float(stats.t.ppf(0.5 + confidence / 2, df=freedom))


@dataclass(frozen=True)
class Estimate:
    """An estimated mean: its standard error and degrees of freedom, and how far rounding may have moved it.

    Attributes:
        value: the estimate.
        error: its standard error.
        freedom: the degrees of freedom of the standard error.
        rounding: added to each side of an interval.
    """

    value: float
    error: float
    freedom: float
    rounding: float = 0.0

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """The value ± (t · error + rounding), with Student's t."""
        half = quantile(confidence, self.freedom) * self.error + self.rounding
        return Interval(self.value, self.value - half, self.value + half)


def of_part(estimate: Estimate, allowed: Bounds, parts: int = 1) -> Verdict:
    """The verdict on one of a claim's `parts`.

    An error of 0 decides nothing: values that do not vary have no spread to judge by.

    >>> of_part(Estimate(2.0, 0.1, 2), Bounds(0.0)), of_part(Estimate(0.2, 0.1, 2), Bounds(0.0))
    ('supported', 'undecided')
    """
    if estimate.error == 0:
        return "undecided"
    if allowed.slack(estimate.interval()) > 0:
        return "supported"
    wide = estimate.interval(1 - (1 - CONFIDENCE) / parts)
    return "contradicted" if wide.high < allowed.low or wide.low > allowed.high else "undecided"


def of_claim(parts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim of which every part must hold.

    >>> of_claim(["supported", "undecided"]), of_claim(["supported", "contradicted"])
    ('undecided', 'contradicted')
    """
    if "contradicted" in parts:
        return "contradicted"
    return "supported" if parts and set(parts) == {"supported"} else "undecided"


def power(seeds: int, difference: float, sd: float, allowed: Bounds, confidence: float = CONFIDENCE) -> float:
    """The probability that the interval over so many seeds decides, if mean and sd are these.

    For a mean inside the bounds it is the probability of an interval inside of them; for one outside, of an interval
    outside on that side. With t of n - 1 degrees of freedom and the noncentral t distribution F:
    1 - F(t; n - 1, √n · distance / sd). For two bounds it is the sum of both less 1, which is never too much.

    Args:
        seeds: n, 2 or more.
        difference: the mean over seeds.
        sd: the standard deviation over seeds, above 0.
        allowed: what the expectation allows.
        confidence: of the interval.
    """
    from scipy import stats

    if allowed.allow(difference):
        distances = [difference - allowed.low, *([allowed.high - difference] if allowed.high < math.inf else [])]
    else:
        distances = [allowed.low - difference if difference <= allowed.low else difference - allowed.high]
    t = quantile(confidence, seeds - 1)
    # Far from the bound scipy's noncentral t gives nan, where the probability is 1 to every digit.
    found = [
        float(stats.nct.sf(t, seeds - 1, shift)) if (shift := math.sqrt(seeds) * distance / sd) < t + 30 else 1.0
        for distance in distances
    ]
    return max(0.0, sum(found) - (len(found) - 1))


def seeds_needed(difference: float, sd: float, allowed: Bounds, confidence: float = CONFIDENCE) -> int | None:
    """The smallest number of seeds whose interval decides with probability 0.8, if mean and sd are as observed.

    Returns:
        2 to `MOST_SEEDS`; None for more.
    """
    if sd == 0:
        return 2 if difference not in (allowed.low, allowed.high) else None
    low, high = 1, MOST_SEEDS
    if power(high, difference, sd, allowed, confidence) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, difference, sd, allowed, confidence) >= POWER else (middle, high)
    return high
