"""The accountants against published settings, against each other, and against closed forms."""

import math
import re
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import ndtr

from dpmix.errors import ParamsError
from dpmix.privacy.accounting import ACCOUNTANTS, Steps, composed_epsilon, epsilon, epsilons, rounded_up


@pytest.mark.parametrize("steps", [1, 30])
@pytest.mark.parametrize("sigma", [1.0, 8.0])
def test_without_sampling_it_is_the_gaussian_mechanism(steps, sigma):
    # Balle and Wang 2018: δ(ε) = Φ(μ/2 - ε/μ) - e^ε Φ(-μ/2 - ε/μ) for μ = √T / σ.
    mu = math.sqrt(steps) / sigma
    spent = epsilons(noise_multiplier=sigma, sampling_rate=1.0, steps=steps, delta=1e-5)

    def delta(value):
        return ndtr(mu / 2 - value / mu) - math.exp(value) * ndtr(-mu / 2 - value / mu)

    assert delta(spent["pld"]) == pytest.approx(1e-5, rel=2e-3)
    assert delta(spent["pld"]) <= 1e-5
    assert delta(spent["prv"]) <= 1e-5
    assert delta(spent["rdp"]) <= 1e-5


@pytest.mark.parametrize(("rate", "sigma", "steps"), [(0.02, 0.655, 500), (0.08, 4.5, 2441), (0.27, 3.6, 37)])
def test_accountants_agree(rate, sigma, steps):
    spent = epsilons(noise_multiplier=sigma, sampling_rate=rate, steps=steps, delta=1e-5)
    assert spent["pld"] == pytest.approx(spent["prv"] - 0.01, rel=2e-3, abs=2e-3)
    assert spent["pld"] < spent["rdp"] < 1.2 * spent["pld"]


def test_both_directions_count():
    # One step, by quadrature: removing a record is the worse direction here, and the pessimistic ε must cover it.
    rate, sigma = 0.3, 1.0
    x = np.linspace(-15, 16, 400_001)

    def density(mean):
        return np.exp(-((x - mean) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))

    with_record, without = (1 - rate) * density(0) + rate * density(1), density(0)
    spent = epsilon("pld", noise_multiplier=sigma, sampling_rate=rate, steps=1, delta=1e-4)
    removed = np.trapezoid(np.maximum(with_record - math.exp(spent) * without, 0), x)
    added = np.trapezoid(np.maximum(without - math.exp(spent) * with_record, 0), x)
    assert added < removed == pytest.approx(1e-4, rel=1e-3)


@given(
    st.floats(0.002, 0.5),
    st.floats(0.8, 8),
    st.integers(1, 100),
    st.sampled_from([1e-6, 1e-5, 1e-4]),
    st.sampled_from(["rdp", "pld"]),
)
@settings(max_examples=10)
def test_epsilon_is_monotone(rate, sigma, steps, delta, accountant):
    def spent(rate=rate, sigma=sigma, steps=steps, delta=delta):
        return epsilon(accountant, noise_multiplier=sigma, sampling_rate=rate, steps=steps, delta=delta)

    slack = 1e-4 + 1e-3 * spent()
    assert spent(sigma=sigma * 1.2) <= spent() + slack
    assert spent(steps=steps * 2) >= spent() - slack
    assert spent(rate=rate * 1.5) >= spent() - slack
    assert spent(delta=delta / 10) >= spent() - slack


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_histories_add_up(accountant):
    whole = epsilon(accountant, noise_multiplier=1.5, sampling_rate=0.05, steps=100, delta=1e-5)
    parts = composed_epsilon(accountant, [Steps(1.5, 0.05, 40), Steps(1.5, 0.05, 60)], delta=1e-5)
    assert parts == whole
    mixed = composed_epsilon(accountant, [Steps(1.5, 0.05, 100), Steps(3.0, 0.05, 100)], delta=1e-5)
    worst = epsilon(accountant, noise_multiplier=1.5, sampling_rate=0.05, steps=200, delta=1e-5)
    assert whole < mixed < worst


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_nothing_done_and_nothing_hidden(accountant):
    assert epsilon(accountant, noise_multiplier=1, sampling_rate=0.1, steps=0, delta=1e-5) == 0
    assert epsilon(accountant, noise_multiplier=0, sampling_rate=0.1, steps=1, delta=1e-5) == math.inf
    assert composed_epsilon(accountant, [], delta=1e-5) == 0


def test_a_wrong_rate_is_noticed():
    # 1 / len(loader) for 3680 examples in batches of 1000 understates the rate, and so ε.
    honest = epsilon("pld", noise_multiplier=3.57, sampling_rate=1000 / 3680, steps=37, delta=1e-5)
    flattering = epsilon("pld", noise_multiplier=3.57, sampling_rate=1 / 4, steps=37, delta=1e-5)
    assert flattering < 0.95 * honest


@pytest.mark.parametrize(
    "mechanism",
    [
        {"noise_multiplier": -1, "sampling_rate": 0.1, "steps": 1},
        {"noise_multiplier": math.inf, "sampling_rate": 0.1, "steps": 1},
        {"noise_multiplier": 1, "sampling_rate": 1.1, "steps": 1},
        {"noise_multiplier": 1, "sampling_rate": 0.1, "steps": 1.5},
        {"noise_multiplier": 1, "sampling_rate": 0.1, "steps": -1},
    ],
)
def test_malformed_mechanisms(mechanism):
    with pytest.raises(ParamsError):
        epsilon("pld", delta=1e-5, **mechanism)


def test_unknown_accountant():
    with pytest.raises(ParamsError, match="there are rdp, prv, pld"):
        epsilon("moments", noise_multiplier=1, sampling_rate=0.1, steps=1, delta=1e-5)


# Printed --------------------------------------------------------------------------------------------------------------


@given(st.floats(1e-6, 1e4), st.integers(1, 6))
def test_a_printed_epsilon_is_never_understated(value: float, digits: int) -> None:
    assert value <= float(rounded_up(value, digits)) < value + 10**-digits * (1 + 1e-6)


def test_printed_epsilons() -> None:
    assert [rounded_up(value, 3) for value in (1.0, 0.9991, 0.99901, 0.999)] == ["1.000", "1.000", "1.000", "0.999"]
    assert rounded_up(7.9999999, 6) == "8.000000"
    assert rounded_up(math.inf, 3) == rounded_up(math.nan, 3) == "∞"
    # Times 10,000 it would be 13001 exactly, and what is printed less than it is.
    assert rounded_up(math.nextafter(1.3001, 2), 4) == "1.3002"


def test_no_epsilon_that_was_spent_is_printed_to_the_nearest(repository: Path) -> None:
    """By the names that what was spent has where it is printed."""
    to_the_nearest = re.compile(r"\{(?:spent|exact|by_opacus|again|joint)\b[^{}:]*:[^{}]*\}")
    files = [path for folder in ("dpmix", "examples") for path in sorted((repository / folder).rglob("*.py"))]
    assert len(files) > 50
    assert to_the_nearest.search('f"spends epsilon {spent:.4g}"')
    assert [path.name for path in files if to_the_nearest.search(path.read_text(encoding="utf-8"))] == []
