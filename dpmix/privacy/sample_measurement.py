"""Statistical tests of a run's samples: are those that were drawn Poisson samples at the rate that the run says?

A faulty sampler may repeat a sample or take a unit out of its turn. The tests, by Hoeffding's, Bernstein's and
Freedman's inequalities, are valid for every number of units and steps, and as rarely wrong as those of noise
(`dpmix.privacy.noise_measurement`). They too find mistakes of a program, not an adversary in it.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dpmix.errors import PrivacyError
from dpmix.privacy.noise_measurement import CHANCE

if TYPE_CHECKING:
    from dpmix.privacy.sampling import Sample


@dataclass
class SampleMeasurement:
    """Counts who was sampled, and tests whether that is Poisson sampling. It must not be written to disk or logged.

    Attributes:
        gap: the least number of steps after which some unit could be taken again; None as long as none could.

    >>> from dpmix.privacy.sampling import PoissonSampler
    >>> honest, repeats = SampleMeasurement(), SampleMeasurement()
    >>> sampler = PoissonSampler(population=1000, rate=0.1, seed=0)
    >>> for step in range(20):
    ...     honest.add(sampler.sample(step))
    ...     repeats.add(sampler.sample(0))
    >>> honest.verify(), honest.gap
    (None, 1)
    >>> repeats.verify()
    Traceback (most recent call last):
    dpmix.errors.PrivacyError: ...
    """

    gap: int | None = None
    _counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    _offered: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    _mean: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _last: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    _flaw: str = ""
    _step: int = 0
    _excess: float = 0.0
    _variance: float = 0.0
    _overlap: float = 0.0
    _overlap_variance: float = 0.0

    def add(self, sample: "Sample") -> None:
        """Count one step's sample: its units, its candidates and its rate."""
        units, candidates, rate = sample.units, sample.candidates, sample.rate
        if len(np.unique(units)) < len(units):
            self._flaw = "a unit is in one sample twice"
        self._grow(int(max(candidates.max(initial=-1), units.max(initial=-1))) + 1)
        allowed = np.zeros(len(self._counts), dtype=bool)
        allowed[candidates] = True
        if not allowed[units].all():
            self._flaw = "a unit was taken that could not have been"
        taken = np.zeros(len(self._counts), dtype=bool)
        taken[units] = True
        taken = taken[candidates]
        seen = self._offered[candidates]
        # How much more often than expected each has been taken before: in [-1, 1], and known before the step.
        weight = np.divide(
            self._counts[candidates] - self._mean[candidates], seen, out=np.zeros(len(candidates)), where=seen > 0
        )
        self._overlap += float(((taken - rate) * weight).sum())
        self._overlap_variance += rate * (1 - rate) * float(np.square(weight).sum())
        self._excess += len(units) - rate * len(candidates)
        self._variance += rate * (1 - rate) * len(candidates)
        again = self._last[candidates]
        if (again >= 0).any():
            gap = self._step - int(again.max())
            self.gap = gap if self.gap is None else min(self.gap, gap)
        self._last[candidates] = self._step
        self._counts[units] += 1
        self._offered[candidates] += 1
        self._mean[candidates] += rate
        self._step += 1

    def _grow(self, size: int) -> None:
        more = size - len(self._counts)
        if more > 0:
            self._counts = np.pad(self._counts, (0, more))
            self._offered = np.pad(self._offered, (0, more))
            self._mean = np.pad(self._mean, (0, more))
            self._last = np.pad(self._last, (0, more), constant_values=-1)

    def verify(self) -> None:
        """Test all samples that were counted.

        Raises:
            PrivacyError: if samples are larger or smaller than their rate explains, hold a unit twice or one that was
                no candidate, take a unit too often or too seldom, or repeat or avoid earlier ones.
        """
        if self._flaw:
            raise PrivacyError(f"{self._flaw}; discard the model and mend the sampler")
        logarithm = math.log(2 / CHANCE)
        if abs(self._excess) > _bernstein(self._variance, logarithm):
            raise PrivacyError(
                "the samples hold more or fewer units than the rate that was said explains; discard the model and mend "
                "the sampler"
            )
        offered = self._offered > 0
        if offered.any():
            n, k = self._offered[offered], self._counts[offered]
            p = self._mean[offered] / n
            divergence = n * _binary_divergence(k / n, p)
            if divergence.max() > math.log(2 * len(n) / CHANCE):
                raise PrivacyError(
                    "some unit is in the samples far more or less often than the rate that was said explains; discard "
                    "the model and mend the sampler"
                )
        # Freedman's inequality, for every power of two that the variance may lie below.
        if abs(self._overlap) > _bernstein(2 * max(self._overlap_variance, 1.0), math.log(2 * 64 / CHANCE)):
            raise PrivacyError(
                "samples repeat or avoid earlier ones; discard the model and draw each independently of all others"
            )


def _bernstein(variance: float, logarithm: float) -> float:
    return math.sqrt(2 * variance * logarithm + (logarithm / 3) ** 2) + logarithm / 3


def _binary_divergence(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """KL divergence of Bernoulli(a) from Bernoulli(b): Hoeffding bounds the tails of sums of draws by it."""
    from scipy.special import rel_entr

    return np.asarray(rel_entr(a, b) + rel_entr(1 - a, np.maximum(1 - b, 0)))
