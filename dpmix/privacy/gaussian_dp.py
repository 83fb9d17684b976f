"""One number for a run's privacy that, unlike ε, can be compared across δ: μ of Gaussian differential privacy.

A mechanism is μ-GDP if telling its outputs on neighbouring data apart is at least as hard as telling N(0, 1) from
N(μ, 1) (Dong, Roth and Su, 2022). In terms of δ(ε) that is δ(ε) <= δ_μ(ε) for all ε, with

    δ_μ(ε) = Φ(μ/2 - ε/μ) - e^ε Φ(-μ/2 - ε/μ).

Sampled steps are μ-GDP only for the μ of steps without sampling, because somebody may be in every sample, however
improbable that is. So the μ here is the smallest for which the inequality holds wherever δ(ε) is at least the stated δ:
for every ε from 0 up to the stated one. What it leaves out has a probability below δ. Without sampling it is √T / σ.
"""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from dpmix.errors import ParamsError
from dpmix.privacy.accountants import loss_distribution, pld_interval
from dpmix.privacy.accounting import Steps, composed_epsilon

_POINTS = 2000


def gaussian_mu(history: Iterable[Steps], *, delta: float) -> float:
    """The smallest μ of a Gaussian mechanism that reveals, at every ε with δ(ε) >= `delta`, no less than these steps.

    δ(ε) is computed from the privacy loss distribution, rounded pessimistically, for both directions of add/remove.

    Args:
        history: Poisson-subsampled Gaussian steps, each with noise.
        delta: δ of the stated guarantee; smaller ones give a μ that is not smaller.

    Returns:
        μ; 0 for no steps.

    Raises:
        ParamsError: steps without noise, or values that are none, as `composed_epsilon` says.
        PrivacyError: δ outside (0, 1), or an ε that the accountant cannot evaluate.

    >>> round(gaussian_mu([Steps(noise_multiplier=10.0, sampling_rate=1.0, steps=25)], delta=1e-5), 2)
    0.5
    """
    kept = tuple(row for row in history if row.steps and row.sampling_rate)
    highest = composed_epsilon("pld", kept, delta=delta)
    if highest == math.inf:
        raise ParamsError("a step has no noise, so no mu bounds what it reveals; give steps with noise")
    if not kept:
        return 0.0
    epsilons = np.linspace(0.0, highest, _POINTS + 1)
    deltas = np.asarray(loss_distribution(kept, pld_interval(kept, delta)).get_delta_for_epsilon(epsilons))
    # Between two points δ is at most that of the first, and δ_μ at least that of the second.
    return float(_mu_for(epsilons[1:], deltas[:-1]).max())


def gaussian_delta(mu: float | npt.NDArray[np.float64], epsilon: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """δ_μ(ε) of the Gaussian mechanism (Balle and Wang, 2018), float64 of the shape of `epsilon`; μ > 0.

    >>> gaussian_delta(1.0, np.array([0.0, 1.0])).round(4).tolist()
    [0.3829, 0.1269]
    """
    from scipy.special import log_ndtr, ndtr

    second = np.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu))  # e^ε alone may overflow
    return np.asarray(ndtr(mu / 2 - epsilon / mu) - second)


def _mu_for(epsilons: npt.NDArray[np.float64], deltas: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """For each pair the smallest μ, up to rounding above it, with δ_μ(ε) >= δ; by bisection, as δ_μ grows with μ."""
    low, high = np.full_like(epsilons, 1e-9), np.full_like(epsilons, 1e3)
    for _ in range(80):
        middle = np.sqrt(low * high)
        enough = gaussian_delta(middle, epsilons) >= deltas
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high
