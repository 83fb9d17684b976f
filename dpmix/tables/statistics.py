"""Statistics over seeds: mean, median, standard deviation, confidence intervals of means and of paired differences.

All functions take sequences of numbers, one for each seed. Intervals are Student's t intervals: they assume values that
are independent and about normal, and with the usual three to five seeds they are wide.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
"""The default confidence of an interval."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its confidence interval, all in the unit of the values."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0: a difference that the seeds alone do not explain."""
        return self.low > 0 or self.high < 0


def mean(values: Sequence[float]) -> float | None:
    """The mean, None without values.

    >>> mean([80.0, 81.0, 83.5])
    81.5
    """
    return statistics.fmean(values) if values else None


def median(values: Sequence[float]) -> float | None:
    """The median, None without values.

    >>> median([80.0, 81.0, 83.5])
    81.0
    """
    return statistics.median(values) if values else None


def sample_sd(values: Sequence[float]) -> float | None:
    """The sample standard deviation (divisor: number of values - 1), None for fewer than two.

    >>> sample_sd([80.0, 81.0, 82.0])
    1.0
    """
    return statistics.stdev(values) if len(values) > 1 else None


def pooled_sd(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The pooled standard deviation of two samples, as in a two-sample t-test; None if neither has two values.

    With m and n values it is √(((m - 1) s₁² + (n - 1) s₂²) / (m + n - 2)). A sample of one value adds nothing to it.

    >>> pooled_sd([80.0, 81.0, 82.0], [90.0])
    1.0
    """
    freedom = len(first) + len(second) - 2
    if freedom <= 0:
        return None
    squares = ((len(sample) - 1) * (sample_sd(sample) or 0.0) ** 2 for sample in (first, second))
    return math.sqrt(sum(squares) / freedom)


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean and its t interval: mean ± t · s / √n, with n - 1 degrees of freedom.

    Raises:
        ValueError: for fewer than two values, which have no spread.

    >>> interval = mean_interval([80.0, 81.0, 82.0])
    >>> f"{interval.estimate:.1f} from {interval.low:.1f} to {interval.high:.1f}"
    '81.0 from 78.5 to 83.5'
    """
    if len(values) < 2:
        raise ValueError(f"an interval of a mean needs two values or more, not {len(values)}")
    from scipy import special  # scipy.stats, which has the same quantile, takes a second to import

    center, count = statistics.fmean(values), len(values)
    quantile = float(special.stdtrit(count - 1, 0.5 + confidence / 2))  # of Student's t
    half = quantile * statistics.stdev(values) / math.sqrt(count)
    return Interval(center, center - half, center + half)


def paired_difference(values: Sequence[float], baseline: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of `values` - `baseline`, seed by seed, and its t interval.

    Two runs with the same seed share initial weights, samples and noise, and so part of their deviation from the mean,
    which cancels in the difference. The interval is therefore narrower than that of the difference of two means.

    Args:
        values: one for each seed.
        baseline: those of the same seeds, in the same order.
        confidence: of the interval.

    Raises:
        ValueError: if the two differ in length, or are shorter than two.

    >>> interval = paired_difference([81.0, 83.0, 85.0], [80.0, 81.0, 82.0])
    >>> f"{interval.estimate:+.1f} from {interval.low:+.1f} to {interval.high:+.1f}"
    '+2.0 from -0.5 to +4.5'
    """
    if len(values) != len(baseline):
        raise ValueError(f"paired values are of the same seeds, not of {len(values)} and {len(baseline)}")
    return mean_interval([value - base for value, base in zip(values, baseline, strict=True)], confidence)
