"""Poisson sampling of records or microbatches at exactly the accounted rate.

A sampled unit is a record, or a microbatch of records whose grouping is fixed before training. Every unit is taken at
most once a step, independently of all others, so leaving one out changes no other unit's part. Sizes are the published
ones: a record that has left keeps its index, which then stands for nobody.
"""

import math
import os

import numpy as np
import numpy.typing as npt

from dpmix.errors import ParamsError
from dpmix.random import KeyedRandom

_BITS = 53


def poisson_sample(seed: int, step: int, population: int, rate: float) -> npt.NDArray[np.int64]:
    """The units of one step of a research run, sorted int64 [m]; m may be 0, and then the step is noise only.

    Args:
        seed: the run's seed.
        step: the step, from 0.
        population: number of units N, fixed and published; units are 0 ... N-1.
        rate: the probability with which each is taken, exact to 2**-53.
    """
    _check(population, rate)
    uniform = KeyedRandom(seed, step, np.arange(population)).uniform("sample")
    return np.flatnonzero(uniform < rate).astype(np.int64)


def secure_poisson_sample(population: int, rate: float) -> npt.NDArray[np.int64]:
    """As `poisson_sample`, for a model meant for release: from the operating system's entropy, recorded nowhere.

    Amplification by sampling holds only as long as nobody can tell who was sampled, so neither the result nor
    anything it was made from may be written or logged by the caller either.
    """
    _check(population, rate)
    words = np.frombuffer(os.urandom(8 * population), dtype=np.uint64) >> np.uint64(64 - _BITS)
    return np.flatnonzero(words < np.uint64(math.ceil(math.ldexp(rate, _BITS)))).astype(np.int64)


def microbatches(population: int, size: int, seed: int) -> npt.NDArray[np.int64]:
    """The fixed grouping of records into microbatches, int64 [ceil(N / size), size]; -1 marks an empty slot.

    A keyed permutation of the published indices: public, the same at every step, and independent of the data, so that
    removing a record empties its slot and moves nobody else (unlike grouping what was sampled, where one removal
    shifts everybody after it).
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
