"""Cyclic Poisson sampling: the records are in fixed public parts, and each step samples from one of them.

Banded noise needs it (`dpmix.privacy.matrix_factorization`): a record can be in every b-th step and in no other.
"""

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dpmix.errors import ParamsError
from dpmix.privacy.matrix_factorization import check_bands
from dpmix.privacy.sampling import Sample, executed_rate, keyed_choice, secure_poisson_sample
from dpmix.random import KeyedRandom

# The parts are public and the same for every seed of an experiment.
_PARTS_SEED = 0


def cyclic_poisson_sample(
    seed: int, step: int, population: int, batch_size: int, bands: int = 1
) -> npt.NDArray[np.int64]:
    """The records of one step of a research run, sorted int64 [m], all of part `step` mod `bands`; m may be 0.

    Each record of the part is taken with probability bands x batch_size / population, rounded down to a multiple of
    2**-53. With one band this is `dpmix.privacy.sampling.poisson_sample`.

    Args:
        seed: the run's seed.
        step: the step, from 0.
        population: number of records N, fixed and published.
        batch_size: B, the expected size of a sample.
        bands: b, the number of parts.

    Raises:
        ParamsError: a batch larger than a part.

    >>> sample = cyclic_poisson_sample(seed=0, step=3, population=100, batch_size=10, bands=4)
    >>> set(sample) <= set(cyclic_part(3, 100, 10, 4))
    True
    """
    part = cyclic_part(step, population, batch_size, bands)
    return part[keyed_choice(seed, step, part, bands * batch_size / population)]


def secure_cyclic_poisson_sample(step: int, population: int, batch_size: int, bands: int = 1) -> npt.NDArray[np.int64]:
    """As `cyclic_poisson_sample`, for a model meant for release: from the operating system's entropy.

    The parts stay public; only who of a part was taken has to be unknown.

    >>> len(secure_cyclic_poisson_sample(step=0, population=100, batch_size=25, bands=4))  # all of one part
    25
    """
    part = cyclic_part(step, population, batch_size, bands)
    return part[secure_poisson_sample(len(part), bands * batch_size / population)]


@dataclass(frozen=True)
class CyclicSampler:
    """Cyclic Poisson sampling as a `dpmix.privacy.sampling.Sampler`: step t samples from part t mod `bands` alone.

    Attributes:
        population: number of records N, fixed and published.
        batch_size: B, the expected size of a sample.
        bands: b, the number of parts.
        seed: of a research run; None draws from the operating system's entropy.

    >>> sampler = CyclicSampler(population=100, batch_size=10, bands=4, seed=0)
    >>> len(sampler.sample(0).candidates), sampler.sample(0).rate
    (25, 0.4)
    """

    population: int
    batch_size: int
    bands: int
    seed: int | None

    def sample(self, step: int) -> Sample:
        """See `Sampler.sample`."""
        sizes = (self.population, self.batch_size, self.bands)
        if self.seed is None:
            units = secure_cyclic_poisson_sample(step, *sizes)
        else:
            units = cyclic_poisson_sample(self.seed, step, *sizes)
        rate = executed_rate(self.bands * self.batch_size / self.population)
        return Sample(units, rate, cyclic_part(step, *sizes))


def cyclic_part(step: int, population: int, batch_size: int, bands: int) -> npt.NDArray[np.int64]:
    """The records that step `step` samples from, sorted int64 [⌊N / bands⌋ or ⌈N / bands⌉].

    The published indices are permuted by a fixed public key and dealt out like cards, so removing a record leaves all
    others in their parts.

    Raises:
        ParamsError: a batch larger than a part.

    >>> parts = [set(cyclic_part(step, population=10, batch_size=2, bands=3)) for step in range(4)]
    >>> parts[0] == parts[3], sorted(map(len, parts[:3]))
    (True, [3, 3, 4])
    """
    check_bands(bands)
    check_part(population, batch_size, bands)
    return _parts(population, bands)[step % bands]


@functools.lru_cache(maxsize=8)
def _parts(population: int, bands: int) -> tuple[npt.NDArray[np.int64], ...]:
    order = np.argsort(KeyedRandom(_PARTS_SEED, 0, np.arange(population)).uniform("part"), kind="stable")
    parts = tuple(np.sort(order[index::bands]) for index in range(bands))
    for part in parts:
        part.flags.writeable = False
    return parts


def check_part(population: int, batch_size: int, bands: int) -> None:
    """Refuse, by a `ParamsError`, batches that are larger than a part of the records.

    >>> check_part(population=10, batch_size=3, bands=4)
    Traceback (most recent call last):
    dpmix.errors.ParamsError: batches of 3 exceed the 2 records of one of 4 parts; use at most 3 bands, or ...
    """
    if not 1 <= batch_size * bands <= population:
        raise ParamsError(
            f"batches of {batch_size} exceed the {population // bands} records of one of {bands} parts; use at most "
            f"{population // max(1, batch_size)} bands, or smaller batches"
        )
