"""Banded matrix factorization: noise that is correlated across steps, so that much of it cancels in the weights.

DP-SGD adds fresh noise z_t at every step, and with plain SGD the weights see its sums. Here step t's noise is
(C⁻¹ z)_t for a lower triangular T x T Toeplitz matrix C of b bands, whose sums are smaller ("BandMF", Choquette-Choo et
al., NeurIPS 2023, arXiv:2306.08153). What is released, G + C⁻¹ z for the clipped sums G, is a function of C G + z.

**Sampling.** The records are split into b fixed public parts, and step t Poisson-samples part t mod b at the rate
b B / N, so a batch still has B records on average (cyclic Poisson sampling, the paper's Algorithm 2).

**Accounting.** In C G + z a gradient that was clipped at step t enters rows t to t + b - 1, times a column of C, whose
norm is at most 1. A record can be sampled only every b-th step, so its participations never share a row: each is one
Gaussian mechanism with the clip norm as its sensitivity, Poisson-subsampled at b B / N, and there are at most ⌈T / b⌉
of them (Theorem 4). Gradients may depend on everything released before. With b = 1 all of this is DP-SGD.

A higher sampling rate costs privacy and cancelling noise saves it; the balance is good for many steps at a large ε
(`relative_rmse`). Momentum and weight decay are post-processing and cost nothing, but C is chosen for plain sums.
"""

import functools
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dpmix.errors import ParamsError, PrivacyError, suggestion
from dpmix.privacy.noise import add_on_grid, check_dtype, gaussian, is_zero, secure_gaussian
from dpmix.privacy.sampling import Sample, executed_rate, keyed_choice, secure_poisson_sample
from dpmix.random import KeyedRandom

# The parts are public and the same for every seed of an experiment.
_PARTS_SEED = 0


# --- Strategies ------------------------------------------------------------------------------------------------------
def strategy(bands: int, steps: int, kind: Literal["optimal", "sqrt"] = "optimal") -> tuple[float, ...]:
    """The first column of C, which determines the Toeplitz matrix: `bands` coefficients whose norm is 1.

    Args:
        bands: b, at least 1 and at most `steps`.
        steps: T; `sqrt` does not depend on it.
        kind: `sqrt` takes the first b coefficients of the square root of the matrix of prefix sums (Fichtenberger et
            al., ICML 2023); `optimal` minimises `prefix_rmse`, some 10 % lower over hundreds of steps (McKenna,
            arXiv:2405.15913).

    Raises:
        ParamsError: a number of bands or a kind that is not possible.

    >>> [round(one, 3) for one in strategy(bands=2, steps=10, kind="sqrt")]
    [0.894, 0.447]
    """
    check_bands(bands)
    if bands > steps:
        raise ParamsError(f"{bands} bands exceed the {steps} steps, so that some records are never used; use fewer")
    k = np.arange(1, bands)
    root = np.concatenate([[1.0], np.cumprod((2 * k - 1) / (2 * k))])
    if kind == "sqrt" or bands == 1:
        return _normalized(root)
    if kind != "optimal":
        raise ParamsError(f"unknown strategy {kind!r}; {suggestion(kind, ('optimal', 'sqrt'))}")
    from scipy.optimize import minimize
    from scipy.signal import lfilter

    impulse = np.eye(1, steps)[0]
    counts = np.arange(steps, 0, -1) / steps

    def loss(others: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        """Twice the logarithm of norm x RMSE, and its gradient. As power series, B = 1 / ((1 - x) C)."""
        column = np.concatenate([[1.0], others])
        partial = np.cumsum(lfilter([1.0], column, impulse))
        chain = lfilter([1.0], column, partial)  # dB / dC_j = - x^j B / C
        square, length = float(counts @ partial**2), float(column @ column)
        moved = np.array([-2 * (counts * partial)[j:] @ chain[: steps - j] for j in range(1, bands)])
        return math.log(square) + math.log(length), moved / square + 2 * others / length

    # Within these bounds the series of 1 / C stays small enough to compute with.
    found = minimize(loss, root[1:], jac=True, method="L-BFGS-B", bounds=[(0, 1)] * (bands - 1))
    return _normalized(np.concatenate([[1.0], found.x]))


def prefix_rmse(coefficients: Sequence[float], steps: int) -> float:
    """Root mean square, over steps, of the noise in the sum of all updates so far, for z of unit variance.

    Args:
        coefficients: the first column of C.
        steps: T.

    Fresh noise adds up to variance t at step t; two bands cancel a part of it:

    >>> round(prefix_rmse((1.0,), steps=100), 2)
    7.11
    >>> prefix_rmse(strategy(2, 100), steps=100) < 7.11
    True
    """
    from scipy.signal import lfilter

    partial = np.cumsum(lfilter([1.0], np.asarray(coefficients), np.eye(1, steps)[0]))
    return float(np.sqrt(np.cumsum(partial**2).mean()))


# --- Sampling --------------------------------------------------------------------------------------------------------
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
    _check_part(population, batch_size, bands)
    return _parts(population, bands)[step % bands]


@functools.lru_cache(maxsize=8)
def _parts(population: int, bands: int) -> tuple[npt.NDArray[np.int64], ...]:
    order = np.argsort(KeyedRandom(_PARTS_SEED, 0, np.arange(population)).uniform("part"), kind="stable")
    parts = tuple(np.sort(order[index::bands]) for index in range(bands))
    for part in parts:
        part.flags.writeable = False
    return parts


# --- Noise -----------------------------------------------------------------------------------------------------------
@dataclass
class _Past:
    """The last draws of one parameter, newest first, in units of the standard deviation."""

    step: int
    draws: deque[Tensor]


class BandedNoise:
    """A `NoiseSource` whose noise is std × (C⁻¹ z)_t, with z as `SeededNoise` or `SecureNoise` would draw it.

    y = C⁻¹ z follows from its own last b - 1 rows, y_t = (z_t - Σ_j c_j y_{t-j}) / c_0. These are the state, b - 1
    tensors for each parameter, so steps must come in order. With a seed the state can be recomputed: asked for a step
    that does not follow the last one, the source draws z anew from the first step on, with the same result to the last
    bit. Without a seed it cannot, and `load_state_dict` must restore it when a run resumes.

    Args:
        coefficients: the first column of C, of norm at most 1; see `strategy`.
        seed: of a research run; None draws from the operating system's entropy, for a model meant for release.

    Raises:
        ParamsError: coefficients for which the noise would be too small.

    With one band it is fresh noise:

    >>> from dpmix.privacy.noise import SeededNoise
    >>> zeros = torch.zeros(5)
    >>> banded = BandedNoise((1.0,), seed=0).add(zeros, 1.0, step=0, name="weight")
    >>> torch.equal(banded, SeededNoise(seed=0).add(zeros, 1.0, step=0, name="weight"))
    True
    """

    def __init__(self, coefficients: Sequence[float], seed: int | None) -> None:
        self.coefficients = tuple(coefficients)
        _check_coefficients(self.coefficients)
        self.seed = seed
        self._past: dict[str, _Past] = {}

    def add(self, total: Tensor, std: float | Tensor, *, step: int, name: str) -> Tensor:
        """See `NoiseSource.add`; here the noises of different steps are correlated.

        Raises:
            ParamsError: a standard deviation that is negative or not finite.
            PrivacyError: without a seed, a step that does not follow the last one of this name.
        """
        check_dtype(total)
        if is_zero(std):
            return total
        noise = self._draw(total.shape, step, name)
        if self.seed is None:
            return add_on_grid(total, noise, std)
        return total + noise.to(total) * torch.as_tensor(std, dtype=total.dtype, device=total.device)

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint between two steps must hold: contiguous CPU tensors by name.

        Whoever reads them can subtract noise, so in a run for release they are as secret as the records.

        Raises:
            PrivacyError: in the middle of a step, when some parameters have had their noise and others not.
        """
        steps = {past.step for past in self._past.values()}
        if len(steps) > 1:
            raise PrivacyError("some parameters have had this step's noise and others not; save between steps")
        state = {f"past/{name}": torch.stack(list(past.draws)) for name, past in self._past.items()}
        return {**state, "step": torch.tensor(steps.pop() if steps else -1)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on after the step at which `state` was saved.

        Raises:
            ParamsError: the state of another strategy.
        """
        step = int(state["step"])
        draws = {name.removeprefix("past/"): value for name, value in state.items() if name != "step"}
        if any(len(value) != min(step + 1, self._kept) for value in draws.values()):
            raise ParamsError(
                f"this noise was saved with another number of bands than {len(self.coefficients)}; start anew"
            )
        self._past = {name: _Past(step, self._deque(value.unbind())) for name, value in draws.items()}

    @property
    def _kept(self) -> int:
        return max(1, len(self.coefficients) - 1)

    def _deque(self, draws: Iterable[Tensor] = ()) -> deque[Tensor]:
        return deque(draws, maxlen=self._kept)

    def _draw(self, shape: Sequence[int], step: int, name: str) -> Tensor:
        """One step's y, on the CPU: float32, or float64 for release."""
        past = self._past.get(name)
        if past is None or (self.seed is not None and step < past.step):
            past = self._past[name] = _Past(-1, self._deque())
        if self.seed is None and step != past.step + 1:
            raise PrivacyError(
                f"the banded noise of {name} stands after step {past.step} and cannot give step {step}; resume it with "
                "its saved state, and give every model of a release noise of its own"
            )
        first, *others = self.coefficients
        while past.step < step:
            past.step += 1
            if self.seed is None:
                drawn = secure_gaussian(shape, 1.0)
            else:
                drawn = gaussian(shape, 1.0, seed=self.seed, step=past.step, name=name)
            for coefficient, earlier in zip(others, past.draws, strict=False):
                drawn = drawn.sub_(earlier, alpha=coefficient)
            past.draws.appendleft(drawn.div_(first))
        return past.draws[0]


def _normalized(column: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple((column / np.linalg.norm(column)).tolist())


def check_bands(bands: int) -> None:
    """Refuse, by a `ParamsError`, what is no number of bands.

    >>> check_bands(0)
    Traceback (most recent call last):
    dpmix.errors.ParamsError: 0 is not a number of bands; it must be a whole number above 0
    """
    if not isinstance(bands, int) or isinstance(bands, bool) or bands < 1:
        raise ParamsError(f"{bands!r} is not a number of bands; it must be a whole number above 0")


def _check_coefficients(coefficients: Sequence[float]) -> None:
    # Rounding may add a few units in the last place to a norm of 1.
    if not (coefficients and coefficients[0] > 0 and math.hypot(*coefficients) <= 1 + 1e-12):
        raise ParamsError("the strategy's first coefficient must be above 0 and its norm at most 1; make it anew")


def _check_part(population: int, batch_size: int, bands: int) -> None:
    if not 1 <= batch_size * bands <= population:
        raise ParamsError(
            f"batches of {batch_size} exceed the {population // bands} records of one of {bands} parts; use at most "
            f"{population // max(1, batch_size)} bands, or smaller batches"
        )
