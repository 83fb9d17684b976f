"""Poisson sampling of records or microbatches at exactly the accounted rate.

A sampled unit is a record, or a microbatch of records whose grouping is fixed before training. Every unit is taken at
most once a step, independently of all others, so leaving one out changes no other unit's part. Sizes are the published
ones: a record that has left keeps its index, which then stands for nobody.
"""

import functools
import math
import os
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from dpmix.errors import ParamsError
from dpmix.random import KeyedRandom

_BITS = 53


class Sample(NamedTuple):
    """The units (records, or microbatches) that were sampled for one step, from which ones, and at which rate.

    Attributes:
        units: the units taken, sorted int64 [m]; m may be 0, and then the step is noise only.
        rate: the exact probability with which each candidate was taken, as `executed_rate` gives it.
        candidates: the units that could have been taken, int64 [n].

    >>> sample = PoissonSampler(population=10, rate=0.5, seed=0).sample(step=0)
    >>> len(sample.candidates), set(sample.units) <= set(sample.candidates)
    (10, True)
    """

    units: npt.NDArray[np.int64]
    rate: float
    candidates: npt.NDArray[np.int64]


class Sampler(Protocol):
    """Draws the sample of every step. A plan hands out its own (`dpmix.privacy.plan.Plan.sampler`)."""

    @property
    def population(self) -> int:
        """How many units there are; samples hold numbers below it."""
        ...

    def sample(self, step: int) -> Sample:
        """The sample of step `step`, from 0."""
        ...


@dataclass(frozen=True)
class PoissonSampler:
    """Takes each of `population` units with probability `rate` at every step, independently.

    Attributes:
        population: number of units N, fixed and published.
        rate: q in [0, 1].
        seed: of a research run, whose samples are functions of (seed, step); None draws from the operating system's
            entropy, for a model meant for release, and every call draws afresh.

    Raises:
        ParamsError: on use, if `population` is below 1 or `rate` outside [0, 1].

    >>> sampler = PoissonSampler(population=1000, rate=0.1, seed=0)
    >>> bool((sampler.sample(3).units == sampler.sample(3).units).all())
    True
    """

    population: int
    rate: float
    seed: int | None

    def sample(self, step: int) -> Sample:
        """See `Sampler.sample`."""
        if self.seed is None:
            units = secure_poisson_sample(self.population, self.rate)
        else:
            units = poisson_sample(self.seed, step, self.population, self.rate)
        return Sample(units, executed_rate(self.rate), everybody(self.population))


@functools.lru_cache(maxsize=8)
def everybody(population: int) -> npt.NDArray[np.int64]:
    """All units of a population, int64 [N], read-only.

    >>> everybody(4).tolist()
    [0, 1, 2, 3]
    """
    units = np.arange(population)
    units.flags.writeable = False
    return units


def poisson_sample(seed: int, step: int, population: int, rate: float) -> npt.NDArray[np.int64]:
    """The units of one step of a research run, sorted int64 [m]; m may be 0, and then the step is noise only.

    Args:
        seed: the run's seed.
        step: the step, from 0.
        population: number of units N, fixed and published; units are 0 ... N-1.
        rate: the probability with which each is taken, rounded down to a multiple of 2**-53 (`executed_rate`).

    Raises:
        ParamsError: if `population` is below 1 or `rate` outside [0, 1].

    >>> poisson_sample(seed=0, step=0, population=100, rate=1.0).shape
    (100,)
    """
    _check(population, rate)
    return np.flatnonzero(keyed_choice(seed, step, np.arange(population), rate)).astype(np.int64)


def secure_poisson_sample(population: int, rate: float) -> npt.NDArray[np.int64]:
    """As `poisson_sample`, for a model meant for release: from the operating system's entropy, recorded nowhere.

    Sampling lowers ε only as long as nobody can tell who was sampled. So the caller must not write or log the sample
    either, nor its size.

    >>> secure_poisson_sample(population=100, rate=0.0).shape
    (0,)
    """
    _check(population, rate)
    words = np.frombuffer(os.urandom(8 * population), dtype=np.uint64) >> np.uint64(64 - _BITS)
    return np.flatnonzero(words < np.uint64(_threshold(rate))).astype(np.int64)


def keyed_choice(seed: int, step: int, units: npt.NDArray[np.int64], rate: float) -> npt.NDArray[np.bool_]:
    """Whether each of `units`, int64 [n], is taken at one step of a research run: bool [n].

    A unit's draw depends on (seed, step, unit) and on nothing else, so removing one unit changes no other's.

    >>> both = keyed_choice(0, 5, np.array([3, 8]), 0.5)
    >>> alone = keyed_choice(0, 5, np.array([8]), 0.5)
    >>> bool(both[1] == alone[0])
    True
    """
    words = KeyedRandom(seed, step, units).words("sample", 2)
    bits = ((words[:, 0] << np.uint64(32)) | words[:, 1]) >> np.uint64(64 - _BITS)
    return np.asarray(bits < np.uint64(_threshold(rate)))


def executed_rate(rate: float) -> float:
    """The exact probability with which a unit is taken when `rate` is asked for: a multiple of 2**-53, at most `rate`.

    >>> executed_rate(0.25)
    0.25
    >>> executed_rate(2**-54)
    0.0
    """
    return math.ldexp(_threshold(rate), -_BITS)


def _threshold(rate: float) -> int:
    return math.floor(math.ldexp(rate, _BITS))


def microbatches(population: int, size: int, seed: int) -> npt.NDArray[np.int64]:
    """The fixed grouping of records into microbatches, int64 [ceil(N / size), size]; -1 marks an empty slot.

    A permutation of the published indices that is keyed by the seed: public, the same at every step, and independent of
    the data. Removing a record empties its slot and moves nobody else. (Grouping what was sampled would not do: one
    removal shifts everybody after it.)

    Args:
        population: number of records N, fixed and published.
        size: records of one microbatch.
        seed: of the permutation.

    Raises:
        ParamsError: if `population` or `size` is below 1.

    >>> groups = microbatches(population=5, size=2, seed=0)
    >>> groups.shape, sorted(groups.flatten().tolist())
    ((3, 2), [-1, 0, 1, 2, 3, 4])
    """
    if population < 1 or size < 1:
        raise ParamsError(f"cannot group {population} records into microbatches of {size}; both must be at least 1")
    words = KeyedRandom(seed, 0, np.arange(population)).words("microbatch", 2)
    order = np.lexsort((words[:, 1], words[:, 0]))
    slots = np.full(-(-population // size) * size, -1, dtype=np.int64)
    slots[:population] = order
    return slots.reshape(-1, size)


def _check(population: int, rate: float) -> None:
    if population < 1:
        raise ParamsError(f"population {population} is not a published size; it must be at least 1")
    if not 0 <= rate <= 1:
        raise ParamsError(f"sampling rate {rate} is not between 0 and 1; the batch must not exceed the data")
