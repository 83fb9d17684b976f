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
(`banded_plan.relative_rmse`). Momentum and weight decay are post-processing and cost nothing, but C is chosen for plain
sums. `cyclic_sampling` has the sampler, `banded_noise` the noise source, and here is C.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from dpmix.errors import ParamsError, suggestion


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


def check_coefficients(coefficients: Sequence[float]) -> None:
    """Refuse, by a `ParamsError`, a first column of C for which the noise would be too small.

    >>> check_coefficients((0.9, 0.9))
    Traceback (most recent call last):
    dpmix.errors.ParamsError: the strategy's first coefficient must be above 0 and its norm at most 1; make it anew
    """
    # Rounding may add a few units in the last place to a norm of 1.
    if not (coefficients and coefficients[0] > 0 and math.hypot(*coefficients) <= 1 + 1e-12):
        raise ParamsError("the strategy's first coefficient must be above 0 and its norm at most 1; make it anew")
