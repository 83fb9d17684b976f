"""Theorem B's ε: against published and independent numbers, and never below the truth."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import logsumexp

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accounting import epsilon
from dpmix.privacy.model_mix_accounting import MixedSteps, amplified_epsilon, amplified_noise, shift_moments

PAPER = MixedSteps(0.335, 0.03, 3400, 33.58208955 * 0.335, 100)
# (σ, q, T, L, p) -> ε at δ = 1e-5 by an implementation of its own; the first is the default of the authors' script.
VECTORS = [
    (0.335, 0.03, 3400, 33.58208955, 100, 7.99997),
    (0.335, 0.03, 3400, 33.58208955, 1, 450.4797),
    (1, 0.03, 3400, 0, 1, 14.2615),
    (1, 0.03, 3400, 4, 100, 7.4530),
    (1, 0.03, 3400, 4, 1, 8.4769),
    (0.6, 0.03, 3400, 10, 100, 8.0766),
]


def bracket(shift: float, width: float, order: int, step: float = 2e-4) -> tuple[float, float]:
    """Bounds on h_k(v) from below and above, whatever the integrand does between the points.

    The density is log-concave and falls on either side of 0. So over a cell, shifted or not, its largest value is at an
    end (or at its mode, if the cell holds it) and its least at an end.
    """
    reach = width / 2 + order * shift + 14
    x = np.arange(-reach, reach, step)
    density = np.log(np.maximum(_interval(x, width), 1e-300)) - math.log(width)
    shifted = np.log(np.maximum(_interval(x - shift, width), 1e-300)) - math.log(width)
    mode = math.log(_interval(np.zeros(1), width)[0]) - math.log(width)

    def over_cells(values: np.ndarray, at: float) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.minimum(values[1:], values[:-1]), np.maximum(values[1:], values[:-1])
        return low, np.where((x[:-1] <= at) & (at <= x[1:]), mode, high)

    (low, high), (low_shifted, high_shifted) = over_cells(density, 0.0), over_cells(shifted, shift)
    at_most = logsumexp(order * high_shifted - (order - 1) * low) + math.log(step)
    at_least = logsumexp(order * low_shifted - (order - 1) * high) + math.log(step)
    return float(at_least), float(at_most)


def _interval(x: np.ndarray, width: float) -> np.ndarray:
    """Φ(x + L / 2) - Φ(x - L / 2) by the complementary error function, on the side where nothing cancels."""
    from scipy.special import erfc

    away = np.abs(x)
    return (erfc((away - width / 2) / math.sqrt(2)) - erfc((away + width / 2) / math.sqrt(2))) / 2


@pytest.mark.parametrize(("sigma", "rate", "steps", "length", "truncation", "expected"), VECTORS)
def test_vectors(sigma: float, rate: float, steps: int, length: float, truncation: float, expected: float) -> None:
    found = amplified_epsilon([MixedSteps(sigma, rate, steps, length * sigma, truncation)], delta=1e-5)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("shift", "width", "order", "expected"),
    [(0.2985, 33.582, 2, 0.0049466), (0.2985, 33.582, 4, 0.0346719), (1, 4, 2, 0.517735), (1, 4, 8, 25.61197)],
)
def test_moments_of_one_shift(shift: float, width: float, order: int, expected: float) -> None:
    assert float(shift_moments(shift, width, [order])[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("order", [2, 3, 8])
@pytest.mark.parametrize(("shift", "width"), [(0.1, 0.5), (0.3, 33.0), (1.0, 4.0), (2.5, 10.0), (0.7, 120.0)])
def test_moments_lie_between_bounds_that_hold_for_sure(shift: float, width: float, order: int) -> None:
    low, high = bracket(shift, width, order)
    (found,) = shift_moments(shift, width, [order])
    assert low - 1e-12 <= found <= high
    assert high - low < 0.02 * order


@pytest.mark.parametrize(("shift", "width", "order"), [(0.05, 1.0, 2), (0.3, 33.0, 4), (1.0, 4.0, 9), (0.3, 9.0, 40)])
def test_moments_agree_with_many_digits(shift: float, width: float, order: int) -> None:
    """mpmath: 30 digits, and another rule of integration (tanh-sinh, piece by piece)."""
    import mpmath  # which torch needs for itself

    with mpmath.workdps(30):
        half, v = mpmath.mpf(width) / 2, mpmath.mpf(shift)

        def density(x):
            away = abs(x)
            return (mpmath.erfc((away - half) / mpmath.sqrt(2)) - mpmath.erfc((away + half) / mpmath.sqrt(2))) / (
                4 * half
            )

        ends = [-half - 18, half + order * v + 18]
        points = [ends[0], *mpmath.linspace(*ends, 2 + int((ends[1] - ends[0]) / 3))[1:-1], ends[1]]
        whole = mpmath.quad(lambda x: density(x - v) ** order * density(x) ** (1 - order), points, maxdegree=4)
        expected = float(mpmath.log(whole))
    (found,) = shift_moments(shift, width, [order])
    assert expected <= found <= expected * (1 + 1e-9)


def test_the_supremum_over_shifts_is_at_the_largest() -> None:
    """h_k(v) / v² rises with v, over k and L: what is proven for none of them but counted on for all."""
    orders = [2, 3, 4, 8, 16, 32, 64]
    widths, shifts = np.geomspace(0.05, 300, 12), np.geomspace(0.02, 6, 24)
    ratios = np.array([[shift_moments(float(v), float(width), orders) / v**2 for v in shifts] for width in widths])
    assert ratios.shape == (12, 24, 7)
    assert (ratios[:, 1:] >= ratios[:, :-1] * (1 - 1e-9)).all()


def test_more_uniform_noise_reveals_no_more() -> None:
    for shift in (0.1, 0.5, 2.0):
        widths = (0.0, 0.005, 0.1, 1.0, 3.0, 10.0, 40.0)
        moments = np.array([shift_moments(shift, width, [2, 5, 20]) for width in widths])
        assert (moments[1:] <= moments[:-1] * (1 + 1e-9)).all()


def test_without_mixing_it_is_the_subsampled_gaussian() -> None:
    """At the same whole orders, dp-accounting's Rényi bound, with the classic conversion."""
    from dp_accounting.rdp.rdp_privacy_accountant import _compute_rdp_poisson_subsampled_gaussian as rdp

    orders = np.arange(2, 65)
    spent = np.array([500 * rdp(0.05, 1.3, [order])[0] for order in orders])
    expected = (spent + math.log(1e5) / (orders - 1)).min()
    assert amplified_epsilon([MixedSteps(1.3, 0.05, 500, 0, 1)], delta=1e-5) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("best", range(2, 65))
def test_every_whole_order_is_tried(best: int) -> None:
    """Without sampling and mixing, T / 2σ² = s has ε = s a + log(1 / δ) / (a - 1), least at `best` for this s."""
    orders, log = np.arange(2, 65), math.log(1e5)
    s = log / (best - 1) / math.sqrt(best * max(1, best - 2))
    spent = s * orders + log / (orders - 1)
    assert orders[spent.argmin()] == best
    row = MixedSteps(math.sqrt(1 / (2 * s)), 1.0, 1, 0, 1)
    assert amplified_epsilon([row], delta=1e-5) == pytest.approx(spent.min(), rel=1e-9)


def test_at_equal_variance_plain_noise_needs_no_more() -> None:
    """The noise of width L has the variance of Gaussian noise sqrt(1 + L² / 12) times as wide, whose ε is smaller."""
    for sigma, length, truncation in [(0.335, 33.58, 100), (1.0, 4.0, 100), (0.6, 10.0, 1000)]:
        mixed = amplified_epsilon([MixedSteps(sigma, 0.03, 3400, length * sigma, truncation)], delta=1e-5)
        equal = sigma * math.sqrt(1 + length**2 / 12)
        plain = epsilon("rdp", noise_multiplier=equal, sampling_rate=0.03, steps=3400, delta=1e-5)
        assert plain < mixed


def test_what_choices_says_of_the_papers_run() -> None:
    """σ = 0.335 and the mixing noise have the variance of σ = 3.26, and that has ε = 2.2 by PLD in place of 8."""
    equal = math.sqrt(PAPER.noise_multiplier**2 + PAPER.width**2 / 12)
    assert round(equal, 2) == 3.26
    plain = epsilon("pld", noise_multiplier=equal, sampling_rate=0.03, steps=3400, delta=1e-5)
    assert round(plain, 1) == 2.2
    assert round(amplified_epsilon([PAPER], delta=1e-5), 1) == 8.0


def test_a_history_is_composed() -> None:
    whole = amplified_epsilon([PAPER], delta=1e-5)
    parts = [PAPER._replace(steps=1000), PAPER._replace(steps=2400)]
    assert amplified_epsilon(parts, delta=1e-5) == pytest.approx(whole, rel=1e-12)
    narrower = [PAPER._replace(steps=3399), PAPER._replace(steps=1, width=0.0)]
    assert amplified_epsilon(narrower, delta=1e-5) > whole


@pytest.mark.parametrize("change", [{"width": 10.0}, {"truncation": 90}, {"sampling_rate": 0.031}, {"steps": 3500}])
def test_what_protects_less_costs_more(change: dict) -> None:
    assert amplified_epsilon([PAPER._replace(**change)], delta=1e-5) > amplified_epsilon([PAPER], delta=1e-5)


def test_nothing_costs_nothing_and_no_noise_everything() -> None:
    assert amplified_epsilon([], delta=1e-5) == 0
    assert amplified_epsilon([PAPER._replace(steps=0), PAPER._replace(sampling_rate=0.0)], delta=1e-5) == 0
    assert amplified_epsilon([PAPER._replace(noise_multiplier=0.0)], delta=1e-5) == math.inf
    assert math.isfinite(amplified_epsilon([PAPER._replace(sampling_rate=1.0, steps=1)], delta=1e-5))


@pytest.mark.parametrize("target", [1.0, 4.0, 8.0, 50.0])
def test_noise_is_the_least_that_meets_a_target(target: float) -> None:
    mechanism = {"sampling_rate": 0.03, "steps": 3400, "width": PAPER.width, "truncation": 100}
    sigma = amplified_noise(epsilon=target, delta=1e-5, **mechanism)
    assert amplified_epsilon([MixedSteps(sigma, 0.03, 3400, PAPER.width, 100)], delta=1e-5) <= target
    assert amplified_epsilon([MixedSteps(sigma * 0.9997, 0.03, 3400, PAPER.width, 100)], delta=1e-5) > target


def test_what_cannot_be_accounted_for_is_one_line() -> None:
    for change, said in [
        ({"width": -1.0}, "mixing width -1.0 is not a finite number >= 0"),
        ({"truncation": 0.5}, "truncation 0.5 is not a finite number >= 1"),
        ({"noise_multiplier": math.nan}, "noise multiplier nan"),
        ({"sampling_rate": 1.5}, "sampling rate 1.5"),
    ]:
        with pytest.raises(ParamsError, match=said):
            amplified_epsilon([PAPER._replace(**change)], delta=1e-5)
    with pytest.raises(PrivacyError, match="delta 0"):
        amplified_epsilon([PAPER], delta=0.0)
    mechanism = {"delta": 1e-5, "sampling_rate": 0.03, "steps": 100, "width": 1.0, "truncation": 1}
    with pytest.raises(
        PrivacyError, match=r"epsilon 0.1 cannot be certified by Rényi orders up to 64, which give 0.183"
    ):
        amplified_noise(epsilon=0.1, **mechanism)
    with pytest.raises(PrivacyError, match=r"not in \(0, 100\]"):
        amplified_noise(epsilon=101, **mechanism)


@pytest.mark.parametrize("order", [2, 5, 20])
@pytest.mark.parametrize(("shift", "width"), [(0.3, 101.0), (1.0, 400.0), (0.5, 900.0)])
def test_wide_noise_is_summed_at_its_ends_alone(shift: float, width: float, order: int) -> None:
    low, high = bracket(shift, width, order, step=1e-3)
    (found,) = shift_moments(shift, width, [order])
    assert low - 1e-12 <= found <= high
    assert high < 1.2 * low


def test_noise_of_any_width_is_accounted_for_at_once() -> None:
    """Also where the flat part has more points than fit into memory, and where its moments would overflow."""
    spent = [amplified_epsilon([PAPER._replace(width=width)], delta=1e-5) for width in (1e3, 1e6, 1e12, 1e300)]
    assert all(wider < narrower for narrower, wider in pairwise(spent))
    assert spent[-1] == pytest.approx(math.log(1e5) / 63, rel=1e-6)
    tiny = amplified_noise(epsilon=8, delta=1e-5, sampling_rate=0.03, steps=3400, width=1e9, truncation=100)
    assert amplified_epsilon([PAPER._replace(noise_multiplier=tiny, width=1e9)], delta=1e-5) <= 8
