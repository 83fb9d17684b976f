"""Lower bounds on ε from attacks: what a run gave away, for comparison with what its accountant promises.

A white-box canary audit runs the mechanism with and without a canary and scores each outcome, for example by the inner
product of the noisy sum with the canary's gradient; higher must mean "the canary was in". A valid bound exceeds the
true ε with probability at most 1 - confidence, whatever the mechanism. Methods:

- `threshold` assumes nothing about the scores: (ε, δ)-DP forces TPR <= e^ε FPR + δ at any threshold, and the same for
  the true and false negatives (Jagielski et al., NeurIPS 2020).
- `gdp` assumes that the mechanism is μ-GDP for some μ, as Gaussian noise nearly is: Φ⁻¹(1 - FPR) - Φ⁻¹(FNR) <= μ
  (Nasr et al., USENIX Security 2023).
- `mean` assumes that the scores themselves are Gaussian with one variance, and bounds the distance of their means. The
  strongest by far, and exact for a canary that no other gradient overlaps.

Where theory bounds an attack's false positives, `epsilon_from_hits` counts its true positives alone. So it can certify
an ε that no number of runs could show by counting both.

A whole run is audited by its `Transcript`. Many canaries in one run count as so many observations where no canary's
score depends on another's presence, as when each has a direction of its own.

For `threshold` and `gdp` the threshold is chosen on one half of the scores and the two error rates are bounded on the
other half (Clopper and Pearson), so the choice costs no validity.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from dpmix.errors import DataError, ParamsError, suggestion
from dpmix.privacy.noise import NoiseSource

METHODS = ("threshold", "gdp", "mean")
_MOST_THRESHOLDS = 2000


def epsilon_lower_bound(
    scores_in: npt.ArrayLike,
    scores_out: npt.ArrayLike,
    delta: float,
    confidence: float = 0.95,
    method: str = "threshold",
    seed: int = 0,
) -> float:
    """A lower bound on ε at `delta`, at least 0, that holds with probability `confidence`.

    Args:
        scores_in: [n] independent scores of outcomes with the canary, at least 4.
        scores_out: [m] independent scores of outcomes without it, at least 4.
        delta: δ of the guarantee under test, 0 < δ < 1.
        confidence: probability of a valid bound, 0.5 < confidence < 1.
        method: `threshold`, `gdp` or `mean`; see the module for what each assumes.
        seed: of the split into halves.

    Raises:
        ParamsError: an unknown method, or δ or confidence out of range.
        DataError: too few scores, one that is not finite, or, for `mean`, scores that do not vary.

    Scores of a mechanism that is 1-GDP, whose ε at 1e-5 is 4.38:

    >>> draws = np.random.default_rng(0).normal(size=(2, 2000))
    >>> round(epsilon_lower_bound(draws[0] + 1, draws[1], delta=1e-5, method="mean"), 1)
    3.8
    >>> round(epsilon_lower_bound(draws[0] + 1, draws[1], delta=1e-5, method="threshold"), 1)
    1.1
    """
    if method not in METHODS:
        raise ParamsError(f"unknown audit method {method!r}; {suggestion(method, METHODS)}")
    if not 0 < delta < 1:
        raise ParamsError(f"delta {delta} is not between 0 and 1; audit at the delta of the guarantee")
    if not 0.5 < confidence < 1:
        raise ParamsError(f"confidence {confidence} is not between 0.5 and 1; choose another, such as 0.95")
    inside, outside = _scores(scores_in, "with"), _scores(scores_out, "without")
    if method == "mean":
        return gdp_epsilon(_mean_difference(inside, outside, 1 - confidence), delta)

    def bound(fpr: npt.NDArray[np.float64], fnr: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return _from_rates(fpr, fnr, delta) if method == "threshold" else _gdp_mu(fpr, fnr)

    random = np.random.default_rng(seed)
    inside, outside = random.permutation(inside), random.permutation(outside)
    (choose_in, test_in), (choose_out, test_out) = np.array_split(inside, 2), np.array_split(outside, 2)
    candidates = np.unique(np.concatenate([choose_in, choose_out]))
    candidates = candidates[:: -(-len(candidates) // _MOST_THRESHOLDS)]
    threshold = candidates[np.argmax(_bound_at(candidates, choose_in, choose_out, 1 - confidence, bound))]
    found = float(_bound_at(np.array([threshold]), test_in, test_out, 1 - confidence, bound)[0])
    return max(0.0, found) if method == "threshold" else gdp_epsilon(found, delta)


def epsilon_from_hits(
    hits: npt.ArrayLike,
    runs: int,
    log_false_positive_rates: npt.ArrayLike,
    delta: float,
    confidence: float = 0.95,
    share: float = 1.0,
) -> float:
    """A lower bound on ε, at least 0, from how often tests found the canary, whose false positive rates are bounded.

    (ε, δ)-DP forces TPR <= e^ε FPR + δ. The TPR is counted: its lower limit is Clopper and Pearson's. For the FPR a
    bound stands in that was proven. So nothing is assumed of the scores.

    Args:
        hits: [m] in how many of the runs, which all had the canary, each test found it. The tests were decided on
            before the runs; that the best of the m is taken costs each an m-th of the allowed failures.
        runs: how many independent runs there were.
        log_false_positive_rates: [m] for each test, an upper bound on the logarithm of the probability that it finds
            a canary that is not there.
        delta: δ of the guarantee under test.
        confidence: probability of a valid bound.
        share: the probability of what the runs were drawn from, if that is only a part of what can happen with the
            canary, such as "it was sampled at least 115 times"; in all the rest the canary is taken to be missed.

    A test that finds the canary in 60 of 100 runs, and without it once in e^12:

    >>> round(epsilon_from_hits([60], 100, [-12.0], delta=1e-5), 1)
    11.3
    """
    from scipy.special import betaincinv

    found, tails = np.asarray(hits, dtype=np.float64), np.asarray(log_false_positive_rates, dtype=np.float64)
    significance = (1 - confidence) / len(found)
    some = np.maximum(found, 1)
    rate = np.where(found > 0, betaincinv(some, runs - some + 1, significance), 0.0)
    excess = np.maximum(share * rate - delta, 0.0)
    with np.errstate(divide="ignore"):
        return max(0.0, float(np.max(np.log(excess) - tails)))


class Transcript:
    """A `NoiseSource` that keeps every noisy sum it returns: all that a white-box adversary sees of a run.

    Args:
        source: the noise under audit; a trainer is given the transcript in its place.

    Attributes:
        noisy: by parameter, the noisy sums of all steps in their order, on the CPU.

    >>> import torch
    >>> from dpmix.privacy.noise import SeededNoise
    >>> transcript = Transcript(SeededNoise(seed=0))
    >>> noisy = transcript.add(torch.ones(3), 0.5, step=0, name="weight")
    >>> bool((transcript.noisy["weight"][0] == noisy).all())
    True
    """

    def __init__(self, source: NoiseSource) -> None:
        self._source = source
        self.noisy: dict[str, list[Tensor]] = {}

    def add(self, total: Tensor, std: float | Tensor, *, step: int, name: str) -> Tensor:
        """See `NoiseSource.add`."""
        noisy = self._source.add(total, std, step=step, name=name)
        self.noisy.setdefault(name, []).append(noisy.detach().cpu().clone())
        return noisy


def gdp_epsilon(mu: float, delta: float) -> float:
    """ε at `delta` of a μ-GDP mechanism (Dong et al., 2022, Corollary 2.13); 0 for μ <= 0.

    One Gaussian mechanism with noise multiplier σ is 1/σ-GDP.

    >>> round(gdp_epsilon(1.0, 1e-5), 2)
    4.38
    """
    if mu <= 0:
        return 0.0
    from dp_accounting import get_epsilon_gaussian

    return float(get_epsilon_gaussian(1 / mu, delta))


def _bound_at(
    thresholds: npt.NDArray[np.float64],
    inside: npt.NDArray[np.float64],
    outside: npt.NDArray[np.float64],
    significance: float,
    bound: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.NDArray[np.float64]],
) -> npt.NDArray[np.float64]:
    """`bound` of upper confidence limits on both error rates of the attack "in if score >= threshold", [thresholds]."""
    false_negatives = np.searchsorted(np.sort(inside), thresholds, side="left")
    false_positives = len(outside) - np.searchsorted(np.sort(outside), thresholds, side="left")
    # Half the allowed failures for each of the two rates.
    fnr = _rate_above(false_negatives, len(inside), significance / 2)
    fpr = _rate_above(false_positives, len(outside), significance / 2)
    return bound(fpr, fnr)


def _rate_above(counts: npt.NDArray[np.int64], trials: int, significance: float) -> npt.NDArray[np.float64]:
    """Clopper and Pearson's upper limit on a rate of which `counts` of `trials` were seen."""
    from scipy.special import betaincinv

    some = np.minimum(counts, trials - 1)
    return np.where(counts < trials, betaincinv(some + 1, trials - some, 1 - significance), 1.0)


def _from_rates(fpr: npt.NDArray[np.float64], fnr: npt.NDArray[np.float64], delta: float) -> npt.NDArray[np.float64]:
    """The least ε with TPR <= e^ε FPR + δ and TNR <= e^ε FNR + δ for these two error rates; at least 0."""
    positives = np.log(np.maximum(1 - fnr - delta, fpr)) - np.log(fpr)
    negatives = np.log(np.maximum(1 - fpr - delta, fnr)) - np.log(fnr)
    return np.maximum(positives, negatives)


def _gdp_mu(fpr: npt.NDArray[np.float64], fnr: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The least μ for which a μ-GDP mechanism allows these error rates; minus infinity where a rate may be 1."""
    from scipy.special import ndtri

    return -ndtri(fpr) - ndtri(fnr)


def _mean_difference(inside: npt.NDArray[np.float64], outside: npt.NDArray[np.float64], significance: float) -> float:
    """Lower limit on (mean in - mean out) / σ: Student's t for the difference, chi-square for σ.

    With S² the pooled variance, difference / σ = (difference / S) (S / σ). Each factor is bounded at half the allowed
    failures; the noncentral t would do it at once, but its tails are not dependable at thousands of scores.
    """
    from scipy.special import chdtri, stdtrit

    n, m = len(inside), len(outside)
    freedom = n + m - 2
    pooled = (inside.var(ddof=1) * (n - 1) + outside.var(ddof=1) * (m - 1)) / freedom
    if not pooled > 0:
        raise DataError("the audit's scores do not vary, so nothing was noisy; score the noisy sum itself")
    scale = math.sqrt(pooled)
    lower = inside.mean() - outside.mean() - stdtrit(freedom, 1 - significance / 2) * scale * math.sqrt(1 / n + 1 / m)
    # (freedom S²/σ²) exceeds its own lower quantile; chdtri takes the upper tail's probability.
    ratio = math.sqrt(chdtri(freedom, 1 - significance / 2) / freedom)
    return float(max(0.0, lower) / scale * ratio)


def _scores(scores: npt.ArrayLike, which: str) -> npt.NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64).reshape(-1)
    if len(values) < 4:
        raise DataError(f"{len(values)} scores {which} the canary are too few to audit; collect at least 4")
    if not np.isfinite(values).all():
        raise DataError(f"a score {which} the canary is not finite; look for what overflowed before auditing")
    return values
