"""Canary attacks on ModelMix, at the iterates that it releases: with its authors' momentum, and on unmixed parameters.

ModelMix (Xiao, Wan and Devadas, 2022) sets each coordinate of the next iterate between the last two at random, and
claims an ε that counts this randomness as noise. The proof needs every coordinate to be mixed, and no state but the
iterates themselves. The authors' code has a momentum buffer, and leaves the parameters of its norm layers unmixed. Here
the process of such a run is simulated on the coordinates that a canary's gradient touches, exactly, and attacked by
somebody who sees all iterates and knows the other records, as the claimed ε allows.

**Momentum.** All in units of the noise's standard deviation. With d_k the distance to which the last two iterates are
pushed apart, and U_k uniform in [-d_k / 2, d_k / 2], step k moves a coordinate from the middle of the last two iterates
by -η y_k, where

    y_k = v_k - U_k,    v_k = μ v_{k-1} + g_k.

Summed over all steps, g_k counts 1 / (1 - μ) times and U_k once. So S = (1 - μ) Σ y_k, which is the sum of
y_k - μ y_{k-1} up to its ends, has all of the signal and only 1 - μ of the mixing. The attack says "it was in" if

    S >= z √V*    and    V <= V*,    where    V = Σ c_k² + (1 - μ)² d_k² / 12

over all steps and coordinates, c_k is what the noise of step k counts in S, and V* is decided on beforehand. V is known
from the iterates. Without the canary the attack errs with probability at most

    min_{a < z} E (G - a)₊³ / (z - a)³,    G standard normal.

Proof: for f(x) = (x - a)₊³, E f(x + U) <= E f(x + d G / √12) for every x, because f has a fourth derivative that is
nowhere negative, both have the same first three moments, and the density of a Gaussian crosses that of a uniform
variable of its variance four times. Given the past, S grows by Gaussian noise and such a U. So from the last step to
the first each U can be replaced by a Gaussian, and a Gaussian of variance V* - V added, while E f only grows; stop
where V would pass V*. Then Markov's inequality for f.

**Unmixed.** The attacker sees the subsampled Gaussian steps themselves, and scores the logarithm of their likelihood
ratio, which without the canary is at least e with probability at most exp(-e).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dpmix.privacy.audit import epsilon_from_hits
from dpmix.privacy.model_mix_accounting import MixedSteps

CONFIDENCE = 0.95
"""Probability that a bound holds, unless another is asked for."""

_CHUNK = 64  # runs that are simulated together: what they need fits a processor's cache
_RARE = 0.1  # of runs with the canary, those are simulated in which it was sampled most often
# Two independent initialisations differ by several widths. The distance halves in each step; the attack waits for that.
_FIRST_GAP = 8.0
_WAIT = 16
_MARGIN = 1.002  # V* / V for mixing over just the width; steps rarely mix over more
_DISTANCES = np.arange(4.0, 8.25, 0.5)  # the z of the tests
_LOG_RATIOS = np.arange(8.0, 248.0, 8.0)  # the tests' thresholds on the logarithm of the likelihood ratio


@dataclass(frozen=True)
class MixedRun:
    """A run of ModelMix with a canary in it, whose gradient of norm C is C / √p on each of p coordinates.

    p is the claim's `truncation`.

    Attributes:
        claimed: what the run's ε is claimed for; every step pushes its iterates to just the width.
        momentum: μ of the buffer of noisy gradients; 0 is Algorithm 1.
        mixed: whether the canary's coordinates are mixed.

    >>> MixedRun(MixedSteps(0.335, 0.03, steps=3400, width=11.25, truncation=100), momentum=0.9).shape
    (3400, 100)
    """

    claimed: MixedSteps
    momentum: float = 0.0
    mixed: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of steps and of the canary's coordinates."""
        return self.claimed.steps, int(self.claimed.truncation)

    @property
    def width(self) -> float:
        """The width of the mixing in standard deviations of the noise."""
        return self.claimed.width / self.claimed.noise_multiplier


@dataclass(frozen=True)
class Attack:
    """What an attack found.

    Attributes:
        epsilon: a lower bound on ε at the δ that was asked for, at least 0.
        hits: for each test, in how many runs it found the canary.
        log_false_positive_rates: for each test, a bound on the probability that it finds a canary that is not there.
        share: the probability of what the runs were drawn from.

    >>> one = MixedRun(MixedSteps(0.5, 0.2, steps=50, width=10.0, truncation=4), mixed=False)
    >>> found = attack(one, runs=100, seed=0, delta=1e-5)
    >>> [hits for hits in found.hits if hits], found.share
    ([45, 9, 2], 1.0)
    """

    epsilon: float
    hits: tuple[int, ...]
    log_false_positive_rates: tuple[float, ...]
    share: float


def attack(run: MixedRun, runs: int, seed: int, delta: float, confidence: float = CONFIDENCE) -> Attack:
    """Simulate runs with the canary, and bound ε by how often it is found.

    Args:
        run: what is attacked.
        runs: how many runs are simulated; 1,000 of 3,400 steps on 100 mixed coordinates take some seven seconds.
        seed: of all randomness.
        delta: δ of the guarantee under test.
        confidence: probability that the true ε is not below the bound.

    >>> one = MixedRun(MixedSteps(0.5, 0.2, steps=50, width=10.0, truncation=4), mixed=False)
    >>> round(attack(one, runs=100, seed=0, delta=1e-5).epsilon, 1)
    16.6
    """
    random = np.random.default_rng(seed)
    if run.mixed:
        sampled, share = _often_sampled(run, runs, random)
        statistic, variance = simulate(run, sampled, random)
        most = _variance_limit(run)
        found = (statistic[:, None] >= _DISTANCES * most**0.5) & (variance[:, None] <= most)
        tails = np.array([log_tail(distance) for distance in _DISTANCES])
    else:
        share, tails = 1.0, -_LOG_RATIOS
        found = _log_likelihood_ratios(run, runs, random)[:, None] >= _LOG_RATIOS
    hits = found.sum(axis=0)
    epsilon = epsilon_from_hits(hits, runs, tails, delta, confidence, share)
    return Attack(epsilon, tuple(hits.tolist()), tuple(tails.tolist()), share)


def log_tail(distance: float) -> float:
    """The logarithm of min_{a < z} E (G - a)₊³ / (z - a)³ at z = `distance` > 0.

    It is at most log(4.5) above the logarithm of a Gaussian's own tail.

    >>> round(log_tail(6.5), 1)
    -22.5
    """
    from scipy.special import erfcx

    a = np.linspace(0, distance, 2000, endpoint=False)[1:]
    mills = np.sqrt(np.pi / 2) * erfcx(a / np.sqrt(2))  # tail / density
    # E (G - a)₊³ = ((a² + 2) - a (a² + 3) tail / density) density
    log_moment = np.log((a**2 + 2) - a * (a**2 + 3) * mills) - a**2 / 2 - np.log(2 * np.pi) / 2
    return float(np.min(log_moment - 3 * np.log(distance - a)))


def _often_sampled(run: MixedRun, runs: int, random: np.random.Generator) -> tuple[npt.NDArray[np.bool_], float]:
    """In which steps the canary is sampled, in runs that sample it at least as often as every tenth does.

    Returns:
        Booleans [runs, steps], drawn from Poisson sampling under that condition, and the condition's probability.
    """
    from scipy.stats import binom

    count = binom(run.claimed.steps, run.claimed.sampling_rate)
    least = int(count.isf(_RARE))  # the probability of more is at most _RARE
    share = float(count.sf(least - 1))
    counts = count.isf(random.uniform(0, share, runs))
    order = random.random((runs, run.claimed.steps)).argsort(axis=1)
    return order < counts[:, None], share


def simulate(
    run: MixedRun, sampled: npt.NDArray[np.bool_], random: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """S and V of each run, which depend on its released iterates alone.

    Args:
        run: what is simulated, on the canary's coordinates.
        sampled: in which steps the canary is sampled, [runs, steps]; nowhere for runs without it.
        random: draws noise and mixing.

    Returns:
        S [runs] and V [runs], in units of the noise's standard deviation and variance.

    >>> run = MixedRun(MixedSteps(0.5, 0.2, steps=50, width=10.0, truncation=4))
    >>> statistic, variance = simulate(run, np.zeros((3, 50), dtype=bool), np.random.default_rng(0))
    >>> statistic.shape, variance.shape
    ((3,), (3,))
    """
    chunks = [_simulate_some(run, sampled[at : at + _CHUNK], random) for at in range(0, len(sampled), _CHUNK)]
    statistics, widths = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    variance = run.shape[1] * _noise_variance(run) + (1 - run.momentum) ** 2 * widths / 12
    return (1 - run.momentum) * statistics, variance


def _simulate_some(
    run: MixedRun, sampled: npt.NDArray[np.bool_], random: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Σ y_k and Σ d_k² from step `_WAIT` on, over steps and coordinates, each [runs].

    Everything is float32 and in place, for speed.
    """
    (steps, coordinates), real = run.shape, np.float32
    shape = (len(sampled), coordinates)
    signal = (sampled.T / (run.claimed.noise_multiplier * coordinates**0.5)).astype(real)  # [steps, runs]
    gap = random.standard_normal(shape, dtype=real) * real(_FIRST_GAP * run.width)  # w_{k-1} - w_{k-2}
    buffer, moves, squares = (np.zeros(shape, real) for _ in range(3))
    noise, mixing, width = (np.empty(shape, real) for _ in range(3))
    for step in range(steps):
        random.standard_normal(out=noise, dtype=real)
        noise += signal[step][:, None]
        buffer *= real(run.momentum)
        buffer += noise
        np.abs(gap, out=width)
        np.maximum(width, real(run.width), out=width)  # the code pushes to the width, and no farther
        random.random(out=mixing, dtype=real)
        mixing -= real(0.5)
        mixing *= width
        np.subtract(buffer, mixing, out=noise)  # y_k
        if step >= _WAIT:
            moves += noise
            width *= width
            squares += width
        gap *= real(-0.5)  # from w_{k-1} back to the middle, and from there by -y_k
        gap -= noise
    return moves.sum(axis=1, dtype=np.float64), squares.sum(axis=1, dtype=np.float64)


def _log_likelihood_ratios(run: MixedRun, runs: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """For runs with the canary, [runs]: log of (density with the canary / density without) of all unmixed steps.

    Along the canary's gradient, a step is N(1, σ²) with probability q and else N(0, σ²), in units of C.
    """
    sigma, q, steps = run.claimed[:3]
    total = np.zeros(runs)
    for _ in range(steps):
        step = (random.random(runs) < q) + sigma * random.standard_normal(runs)
        total += np.logaddexp(np.log1p(-q), np.log(q) + (step - 0.5) / sigma**2)
    return total


def _variance_limit(run: MixedRun) -> float:
    """V*, in units of the noise's variance."""
    mixing = ((1 - run.momentum) * run.width) ** 2 / 12
    steps, coordinates = run.shape
    return coordinates * (_noise_variance(run) + _MARGIN * (steps - _WAIT) * mixing)


def _noise_variance(run: MixedRun) -> float:
    """Σ c_k²: noise of step k goes on in the buffer of later steps, and S sums them from step `_WAIT` on."""
    left = np.arange(run.claimed.steps, 0, -1)
    counts = 1 - run.momentum**left
    counts[:_WAIT] = run.momentum ** np.arange(_WAIT, 0, -1) - run.momentum ** left[:_WAIT]
    return float((counts**2).sum())
