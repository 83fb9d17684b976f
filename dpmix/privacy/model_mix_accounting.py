"""ε of ModelMix (`dpmix.privacy.model_mix`) with its amplification by mixing, and the noise that meets a target.

**Theorem A** holds whatever is mixed: all released states, and all that is computed from them, are functions of the
noisy sums and of draws α that depend on no data. So the accountants of `dpmix.privacy.accounting` bound the run. With
momentum buffers, unmixed layers or equal coordinates that are not pushed, nothing else is known to.

**Theorem B** counts the mixing noise too. In units of the noise's standard deviation σ C on the clipped sum, a step
releases its clipped sum plus X, with independent entries X_j = N(0, 1) + U[-L_j / 2, L_j / 2]. Let every L_j be a
multiple of L, c = 1 / σ the longest that one example's clipped gradient can be, and b = c / sqrt(p) its largest entry.
With p_L the density of N(0, 1) + U[-L / 2, L / 2] and

    h_k(v) = log ∫ p_L(x - v)^k p_L(x)^(1 - k) dx,      H_k = c² sup { h_k(v) / v² : 0 < v <= b },

T steps at sampling rate q have, at every whole order a >= 2, Rényi divergence at most T ρ(a),

    ρ(a) = log( Σ_k binom(a, k) (1 - q)^(a - k) q^k e^(H_k) ) / (a - 1),     ε = min_a T ρ(a) + log(1 / δ) / (a - 1).

*Proof.* (1) Given what was released before, midpoints and distances are fixed; compose over steps. (2) Given who else
is sampled, a step is (1 - q) P_0 + q P_v with one more record and P_0 without it, up to a common shift; P_0 has
symmetric independent entries, and P_v is P_0 shifted by the record's gradient v. Divergences are quasi-convex over the
others.
(3) x -> v - x exchanges P_0 and P_v, so that with r = P_v / P_0 the expectation of φ(r) under P_0 is half that of
φ(r) + r φ(1 / r). Take r >= 1, A = 1 - q + q r and A' = 1 - q + q / r, with logarithms x and -y, and s = a - 1/2:
(A^a + r A'^a) - (A^(1 - a) + r A'^(1 - a)) = 2 sqrt(A) sinh(s x) - 2 r sqrt(A') sinh(s y) is 0 at s = 1/2, as
A - 1 = r (1 - A'); and A A' >= 1 means x >= y, so that sinh(s x) / sinh(x / 2) grows faster in s than the same of y.
So of both directions, adding a and removing it, the mixture against P_0 diverges more. (4) Expand the mixture's power;
E r^k is the product over entries of e^(h_k(v_j; L_j)), and e^(h_k) at a multiple of L is at most that at L, since the
wider noise is an even mixture of shifts of the narrower and E r^k is jointly convex. (5) Σ_j h_k(v_j) is
Σ_j v_j² (h_k(v_j) / v_j²), and Σ_j v_j² <= c². ∎ Corollary 4.1 of the paper is this with the supremum at b.

What a run must do for (1) to (5) to be about it is checked by `dpmix.privacy.ledger` and by its plan
(`dpmix.privacy.model_mix_plan`): every trainable coordinate mixed at every step with distances that are multiples of at
least τ, τ / η at least the plan's, α uniform and fresh, no other state from noisy sums, both bounds on each gradient,
Poisson sampling.

**The integral** is a trapezoidal sum of step 1/16, no smaller than the integral but for rounding. p_L is entire, with
|p_L(x + iy)| <= e^(y²/2) p_L(x), and at least e^(y²/2) (1 - y²/2) p_L(x), since p_L(x + iy) / (e^(y²/2) p_L(x)) is the
characteristic function at y of a normal variable truncated to an interval, whose variance is at most 1. So for |y| <= 1
the integrand is analytic, and its modulus integrates to at most M = e^(1/2) 2^(k-1) e^(h_k) along each line; the sum is
off by at most 2 M / (e^(32 π) - 1) (Trefethen and Weideman, SIAM Review 2014, Theorem 5.1), a part 10⁻²⁴ of e^(h_k) at
k = 64. What is cut off at either end is a part of some e^(-128). For a large L the flat part is not summed: within it
both densities are 1 / L but for a part of e^(-128), so that with a smaller L_0 whose ends are as far apart,
L (e^(h_k(v; L)) - 1) = L_0 (e^(h_k(v; L_0)) - 1). Rounding in float64 is covered by 10⁻¹² of the result
and 10⁻¹⁴ k, which are added. The supremum over v is the largest of eight values: h_k(v) / v² has never been seen to
fall in v (`tests/privacy/test_model_mix_accounting.py` looks over k, L and v), so that it is that at b.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accountants import MAX_EPSILON
from dpmix.privacy.accounting import check_delta, check_mechanism

AMPLIFIED = "model-mix"
"""What ε by Theorem B is called beside those of the accountants."""

MOST_ORDER = 64

_STEP = 1 / 16
_REACH = 16.0  # beyond either end of the noise's flat part, in standard deviations
_LONGEST = 100.0  # of the flat part that is summed: 2 (_REACH + 20) and more keep its ends apart
_SHIFTS = 8
_ROUNDING = 1e-12
_TOLERANCE = 1e-4
# Orders are tried in these groups, and the higher ones only where they can still be better.
_GROUPS = ((2, 8), (9, 16), (17, 32), (33, MOST_ORDER))

Floats = npt.NDArray[np.float64]


class MixedSteps(NamedTuple):
    """Equal steps of ModelMix.

    Attributes:
        noise_multiplier: σ, the Gaussian noise's standard deviation in units of the clip norm C.
        sampling_rate: q, the probability with which each example takes part in a step.
        steps: how many steps.
        width: of the uniform noise on each entry of the clipped sum, in units of C: τ B / (η C); 0 for none.
        truncation: p >= 1: no entry of an example's clipped gradient exceeds C / sqrt(p).

    >>> MixedSteps(noise_multiplier=1.0, sampling_rate=0.01, steps=1000, width=10.0, truncation=100.0).width
    10.0
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int
    width: float
    truncation: float


def mixed_from_rows(rows: list[Mapping[str, Any]]) -> list[MixedSteps]:
    """The steps of ModelMix that a list of `MixedSteps._asdict()` in a JSON file describes.

    Raises:
        LookupError, TypeError, ValueError: if a value is missing or no number, or there is another.

    >>> row = {"noise_multiplier": 1.0, "sampling_rate": 0.5, "steps": 3, "width": 2.0, "truncation": 4}
    >>> mixed_from_rows([row])
    [MixedSteps(noise_multiplier=1.0, sampling_rate=0.5, steps=3, width=2.0, truncation=4.0)]
    """
    found = []
    for row in rows:
        whole = int(row["steps"])
        numbers = {name: float(value) for name, value in row.items() if name != "steps"}
        found.append(MixedSteps(**numbers, steps=whole))
    return found


def shift_moments(shift: float, width: float, orders: Sequence[int]) -> Floats:
    """h_k(v) for each order k (see the module): how far a shift by v moves N(0, 1) + U[-L / 2, L / 2].

    Args:
        shift: v >= 0, in standard deviations of the Gaussian.
        width: L >= 0, in the same units.
        orders: whole, from 1 on.

    >>> shift_moments(1.0, 4.0, [2, 8]).round(5)
    array([ 0.51773, 25.61197])
    >>> shift_moments(1.0, 0.0, [2, 8])  # k (k - 1) v² / 2
    array([ 1., 28.])
    """
    from scipy.special import logsumexp

    k = np.asarray(orders, dtype=np.float64)
    gaussian = k * (k - 1) / 2 * shift**2
    # Uniform noise on top only helps. Below 0.01 differences of Φ would cancel; 20 standard deviations are no privacy.
    if width < 0.01 or shift > 20:
        return np.asarray(gaussian)
    summed = min(width, _LONGEST)
    x = np.arange(-summed / 2 - _REACH, summed / 2 + k.max() * shift + _REACH, _STEP)
    shifted, centred = _log_density(x - shift, summed), _log_density(x, summed)
    logarithms = logsumexp(k[:, None] * shifted - (k[:, None] - 1) * centred, axis=1) + math.log(_STEP)
    if width > summed:
        share = summed / width
        # The logarithm of 1 + share (e^h - 1), without overflow where h is large.
        small = np.log1p(share * np.expm1(np.minimum(logarithms, 1)))
        logarithms = np.where(logarithms < 1, small, np.logaddexp(math.log(share) + logarithms, np.log1p(-share)))
    return np.asarray(np.minimum(logarithms * (1 + _ROUNDING) + _ROUNDING / 100 * k, gaussian))


def amplified_epsilon(history: Iterable[MixedSteps], *, delta: float) -> float:
    """ε at `delta` of steps of ModelMix by Theorem B: 0 for no steps, infinite without Gaussian noise.

    Rows may differ; each is accounted with its own noise, rate, width and truncation. A row of width 0 and truncation 1
    is a step of DP-SGD.

    Raises:
        ParamsError: a rate outside [0, 1], σ, T or a width below 0, or a truncation below 1.
        PrivacyError: δ outside (0, 1).

    >>> paper = MixedSteps(noise_multiplier=0.335, sampling_rate=0.03, steps=3400, width=11.25, truncation=100)
    >>> round(amplified_epsilon([paper], delta=1e-5), 3)
    8.0
    """
    check_delta(delta)
    rows = []
    for row in history:
        _check(row)
        if row.steps and row.sampling_rate:
            rows.append(row)
    if not rows:
        return 0.0
    if any(row.noise_multiplier == 0 for row in rows):
        return math.inf
    best = math.inf
    for first, last in _GROUPS:
        spent = np.sum([row.steps * _divergences(row._replace(steps=1), last) for row in rows], axis=0)
        for order in range(first, last + 1):
            # Rényi divergences grow with the order, so none from here on can give less.
            if float(spent[order]) >= best:
                return best
            best = min(best, float(spent[order]) + math.log(1 / delta) / (order - 1))
    return best


def amplified_noise(
    *, epsilon: float, delta: float, sampling_rate: float, steps: int, width: float, truncation: float
) -> float:
    """The smallest noise multiplier whose ε by Theorem B is at most `epsilon`, rounded up by at most 0.01 %.

    Args:
        epsilon: the target, in (0, 100].
        delta: δ of the guarantee.
        sampling_rate: q.
        steps: T.
        width: as in `MixedSteps`; it stays as the Gaussian noise changes.
        truncation: p.

    Raises:
        ParamsError: as `amplified_epsilon`.
        PrivacyError: δ outside (0, 1), or a target that no noise meets within the orders.

    >>> sigma = amplified_noise(epsilon=8, delta=1e-5, sampling_rate=0.03, steps=3400, width=11.25, truncation=100)
    >>> round(sigma, 3)
    0.335
    """
    if not 0 < epsilon <= MAX_EPSILON:
        raise PrivacyError(f"epsilon {epsilon} is not in (0, {MAX_EPSILON:g}]; ask for one from there, such as 1")

    def enough(sigma: float) -> bool:
        return amplified_epsilon([MixedSteps(sigma, sampling_rate, steps, width, truncation)], delta=delta) <= epsilon

    high = 1.0
    while not enough(high):
        high *= 2
        if high > 1e6:
            least = math.log(1 / delta) / (MOST_ORDER - 1)
            raise PrivacyError(
                f"epsilon {epsilon:g} cannot be certified by Rényi orders up to {MOST_ORDER}, which give {least:.3g} "
                f"at least at delta {delta:g}; ask for more"
            )
    low = high / 2
    while enough(low):
        low, high = low / 2, low
        if low < 1e-3:
            raise PrivacyError(f"epsilon {epsilon:g} needs next to no noise at this delta; choose a much smaller delta")
    while high > low * (1 + _TOLERANCE):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@functools.lru_cache(maxsize=1024)
def _divergences(row: MixedSteps, last: int) -> Floats:
    """ρ(a) of one step for a = 2 … `last`, at index a; infinite at 0 and 1."""
    from scipy.special import gammaln, logsumexp

    c = 1 / row.noise_multiplier
    b = c / math.sqrt(row.truncation)
    length = row.width / row.noise_multiplier
    orders = np.arange(2, last + 1)
    shifts = [b * (index + 1) / _SHIFTS for index in range(_SHIFTS)]
    # h_0 = h_1 = 0.
    moments = np.zeros(last + 1)
    moments[2:] = c**2 * np.max([shift_moments(shift, length, list(orders)) / shift**2 for shift in shifts], axis=0)
    found = np.full(last + 1, math.inf)
    with np.errstate(divide="ignore"):
        sampled, spared = np.log(row.sampling_rate), np.log1p(-row.sampling_rate)
    for a in orders:
        k = np.arange(a + 1)
        binomials = gammaln(a + 1) - gammaln(k + 1) - gammaln(a - k + 1)
        left = np.where(a - k > 0, (a - k) * np.where(a - k > 0, spared, 0.0), 0.0)
        found[a] = logsumexp(binomials + left + k * sampled + moments[: a + 1]) / (a - 1)
    return found


def _log_density(x: Floats, width: float) -> Floats:
    """The logarithm of p_L(x), the density of N(0, 1) + U[-L / 2, L / 2]."""
    from scipy.special import log_ndtr

    away = np.abs(x)
    upper, lower = log_ndtr(width / 2 - away), log_ndtr(-width / 2 - away)
    return np.asarray(upper + np.log1p(-np.exp(lower - upper)) - math.log(width))


def _check(row: MixedSteps) -> None:
    check_mechanism(row.sampling_rate, row.steps)
    if not 0 <= row.noise_multiplier < math.inf:
        raise ParamsError(f"noise multiplier {row.noise_multiplier} is not a finite number >= 0; 1 is usual")
    if not 0 <= row.width < math.inf:
        raise ParamsError(f"mixing width {row.width} is not a finite number >= 0; 0 stands for no mixing")
    if not 1 <= row.truncation < math.inf:
        raise ParamsError(f"truncation {row.truncation} is not a finite number >= 1; 1 stands for none")
