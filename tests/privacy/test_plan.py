"""The plan, the ledger that is held to it, and the claim that microbatches may be accounted at twice the clip norm."""

import json
import math
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy.special import logsumexp

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy import plan as plan_module
from dpmix.privacy.accounting import ACCOUNTANTS, epsilon, epsilons, replacement_epsilon
from dpmix.privacy.ledger import Ledger
from dpmix.privacy.plan import Plan

SIZES = {"population": 1000, "batch_size": 100, "epochs": 3, "clip_norm": 0.5, "delta": 1e-5}


def given_noise(**changes) -> Plan:
    return Plan.make(**{**SIZES, "noise_multiplier": 2.0, "epsilon": 3.0, **changes})


@pytest.fixture(scope="module")
def calibrated() -> Plan:
    return Plan.calibrated(**SIZES, epsilon=3.0)


def test_rate_and_divisor_come_from_published_sizes():
    plan = given_noise(population=50_000, batch_size=4096, epochs=200)
    assert plan.sampling_rate == 4096 / 50_000  # not 1/13
    assert plan.expected_units == 4096  # not 3846
    assert plan.units == 50_000
    assert plan.steps == 2441  # not 2600


@pytest.mark.parametrize(
    ("population", "batch_size", "epochs", "steps"),
    [
        (3680, 1000, 10, 36),
        (24485, 1000, 10, 244),
        (87003, 1000, 10, 870),
        (99, 1, 1, 99),  # floats lose a step here: int(1 / (1 / 99)) is 98
        (93, 1, 2, 186),
        (10, 1, 0.1, 1),  # and here: 0.1 is one tenth
        (10, 1, 0.7, 7),
        (30, 10, Fraction(1, 3), 1),
    ],
)
def test_steps_in_exact_arithmetic(population, batch_size, epochs, steps):
    assert given_noise(population=population, batch_size=batch_size, epochs=epochs).steps == steps


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.integers(1, 500))
def test_steps_never_exceed_the_epochs(population, batch_size, epochs):
    batch_size = min(batch_size, population)
    steps = given_noise(population=population, batch_size=batch_size, epochs=epochs).steps
    assert steps * batch_size <= epochs * population < (steps + 1) * batch_size


def test_microbatches_double_sensitivity_and_noise():
    alone, pairs = given_noise(), given_noise(microbatch_size=2)
    assert (alone.sensitivity, alone.noise_std) == (0.5, 1.0)
    assert (pairs.sensitivity, pairs.noise_std) == (1.0, 2.0)
    assert (alone.units, alone.expected_units) == (1000, 100)
    assert (pairs.units, pairs.expected_units) == (500, 50)
    assert pairs.sampling_rate == alone.sampling_rate
    assert given_noise(population=1001, microbatch_size=2).units == 501


def test_calibration_is_for_the_steps_that_will_run(calibrated):
    mechanism = {"sampling_rate": calibrated.sampling_rate, "steps": calibrated.steps, "delta": calibrated.delta}
    expected = epsilons(noise_multiplier=calibrated.noise_multiplier, **mechanism)
    assert calibrated.epsilons() == expected
    assert 2.99 < calibrated.epsilons()["pld"] <= 3
    assert calibrated.private
    assert calibrated.steps == 30


def test_without_privacy():
    plan = Plan.calibrated(**SIZES, epsilon=math.inf)
    assert (plan.noise_multiplier, plan.noise_std, plan.private) == (0, 0, False)
    assert plan.epsilons() == dict.fromkeys(ACCOUNTANTS, math.inf)
    ledger = Ledger()
    ledger.record(plan, plan.steps)
    ledger.check(plan)
    assert set(ledger.spent(plan).values()) == {math.inf}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 1001}, "lower the batch size"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"population": 0}, "population 0"),
        ({"population": 1000.0}, "population 1000.0"),
        ({"population": True}, "population True is not a whole number above 0; give one such as 50000"),
        ({"microbatch_size": 0}, "microbatch_size 0"),
        ({"batch_size": 1, "microbatch_size": 2}, "microbatches of 2"),
        ({"clip_norm": 0}, "clip norm 0"),
        ({"clip_norm": -1}, "clip norm -1"),
        ({"clip_norm": math.inf}, "clip norm inf"),
        ({"clip_norm": math.nan}, "clip norm nan"),
        ({"noise_multiplier": -1}, "noise multiplier -1"),
        ({"noise_multiplier": 0}, "no noise cannot meet epsilon 3"),
        ({"delta": 0}, "delta 0"),
        ({"delta": 1}, "delta 1"),
        ({"epsilon": 0}, "epsilon 0"),
        ({"epsilon": -2}, "epsilon -2"),
        ({"epsilon": math.nan}, "epsilon nan"),
        ({"epochs": 0}, "train for longer"),
        ({"epochs": 0.05}, "train for longer"),
        ({"epochs": math.inf}, "no number of steps"),
        ({"epochs": "many"}, "no number of steps"),
        ({"accountant": "moments"}, "there are rdp, prv, pld"),
        ({"accountant": "plt"}, "did you mean 'pld'"),
    ],
)
def test_what_does_not_fit_is_one_line(changes, words):
    with pytest.raises(ParamsError, match=words) as raised:
        given_noise(**changes)
    assert "\n" not in str(raised.value)


def test_numpys_whole_numbers_are_whole_numbers():
    counted = {name: np.int64(SIZES[name]) for name in ("population", "batch_size")}
    plan = given_noise(**counted, microbatch_size=np.uint8(1))
    assert plan == given_noise()
    assert json.dumps(plan.to_json()) == json.dumps(given_noise().to_json())


def test_calibration_checks_its_params_before_it_searches(monkeypatch):
    monkeypatch.setattr(plan_module, "noise_multiplier", lambda *_, **__: pytest.fail("searched"))
    with pytest.raises(ParamsError, match="lower the batch size"):
        Plan.calibrated(**{**SIZES, "batch_size": 2000}, epsilon=1)


def test_an_unreachable_target():
    with pytest.raises(PrivacyError, match="above 100"):
        Plan.calibrated(**SIZES, epsilon=1000)


def test_a_plan_is_frozen(calibrated):
    with pytest.raises(FrozenInstanceError):
        calibrated.noise_multiplier = 0.1
    assert hash(calibrated) == hash(replace(calibrated))


@pytest.mark.parametrize("target", [3.0, math.inf])
def test_json_round_trip(calibrated, target):
    plan = calibrated if target == 3.0 else Plan.calibrated(**SIZES, epsilon=target)
    text = json.dumps(plan.to_json(), allow_nan=False)
    assert Plan.from_json(json.loads(text)) == plan


@pytest.mark.parametrize("damage", ["missing", "unknown", "wrong", "list"])
def test_damaged_json(calibrated, damage):
    values = calibrated.to_json()
    if damage == "missing":
        del values["steps"]
    elif damage == "unknown":
        values["stepz"] = 1
    elif damage == "wrong":
        values["target_epsilon"] = "much"
    with pytest.raises(ParamsError, match="not a privacy plan"):
        Plan.from_json([values] if damage == "list" else values)


def test_json_is_validated_again(calibrated):
    with pytest.raises(ParamsError, match="no noise"):
        Plan.from_json({**calibrated.to_json(), "noise_multiplier": 0})


def test_the_ledger_counts(calibrated):
    ledger = Ledger()
    for _ in range(10):
        ledger.record(calibrated)
    assert ledger.steps == 10
    ledger.check(calibrated)
    spent = ledger.spent(calibrated)
    mechanism = {"sampling_rate": 0.1, "steps": 10, "delta": 1e-5}
    assert spent == epsilons(noise_multiplier=calibrated.noise_multiplier, **mechanism)
    assert spent["pld"] < calibrated.epsilons()["pld"]


def test_a_resumed_ledger_goes_on_counting(calibrated):
    ledger = Ledger()
    ledger.record(calibrated, 12)
    resumed = Ledger.from_json(json.loads(json.dumps(ledger.to_json())))
    resumed.record(calibrated, calibrated.steps - 12)
    resumed.check(calibrated)
    assert resumed.spent(calibrated) == calibrated.epsilons()
    resumed.record(calibrated)
    with pytest.raises(PrivacyError, match="31 steps were executed but 30 planned"):
        resumed.check(calibrated)


def test_less_noise_than_planned_fails(calibrated):
    ledger = Ledger()
    ledger.record(calibrated, 3)
    ledger.add(calibrated.noise_multiplier * 0.99, calibrated.sampling_rate)
    with pytest.raises(PrivacyError, match="noise multiplier"):
        ledger.check(calibrated)


def test_a_higher_rate_than_planned_fails(calibrated):
    ledger = Ledger()
    ledger.add(calibrated.noise_multiplier, 1 / 9)
    with pytest.raises(PrivacyError, match="sampling rate"):
        ledger.check(calibrated)


def test_a_target_exceeded_fails():
    # A plan whose noise somebody chose by hand, too small for the target it names.
    plan = given_noise(noise_multiplier=0.8)
    ledger = Ledger()
    ledger.record(plan, plan.steps)
    with pytest.raises(PrivacyError, match="above its target 3"):
        ledger.check(plan)


def test_more_noise_and_fewer_samples_are_fine(calibrated):
    ledger = Ledger()
    ledger.record(calibrated, 5)
    ledger.add(calibrated.noise_multiplier * 2, calibrated.sampling_rate / 2, 5)
    ledger.check(calibrated)
    assert ledger.spent(calibrated)["pld"] < 3


def test_steps_cannot_be_taken_back(calibrated):
    with pytest.raises(ParamsError, match="taken back"):
        Ledger().record(calibrated, -1)


# --- Microbatches. In units of the clip norm C = 1: replacement shifts by +1 or -1, the accounting's unit by 2. ---

RATES = (0.001, 0.08192, 0.2717, 0.5, 0.9, 1.0)
DEVIATIONS = (0.5, 1.0, 2.0, 5.0, 32.0)


def log_mixture(x, rate, mean, std):
    def normal(m):
        return -((x - m) ** 2) / (2 * std**2) - math.log(std * math.sqrt(2 * math.pi))

    return np.logaddexp(math.log1p(-rate) + normal(0), math.log(rate) + normal(mean)) if rate < 1 else normal(mean)


def hockey_stick(p, q, x, value):
    return np.trapezoid(np.maximum(np.exp(p) - np.exp(value + q), 0), x)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("std", DEVIATIONS)
def test_one_replacement_is_dominated_at_twice_the_clip_norm(rate, std):
    x = np.linspace(-12 * std - 3, 12 * std + 3, 40_001)
    upper, lower = log_mixture(x, rate, 1, std), log_mixture(x, rate, -1, std)
    unit, none = log_mixture(x, rate, 2, std), log_mixture(x, 1, 0, std)
    for value in (0, *np.geomspace(1e-3, 10, 15)):
        removed, added = hockey_stick(unit, none, x, value), hockey_stick(none, unit, x, value)
        assert added <= removed + 1e-6
        assert hockey_stick(upper, lower, x, value) <= removed + 1e-6
        assert hockey_stick(lower, upper, x, value) <= removed + 1e-6
    if rate < 1 and std < 30:
        # Why single steps prove nothing about many: below 0 the order is reversed.
        assert hockey_stick(upper, lower, x, -0.1 * rate) > hockey_stick(unit, none, x, -0.1 * rate)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("std", DEVIATIONS)
def test_renyi_divergence_is_dominated_too(rate, std):
    # Rényi divergences add up over steps, so this settles the rdp accountant for any number of them.
    for order in (1.05, 1.5, 2, 4, 16, 63):
        x = np.linspace(-12 * std - 2 * order - 3, 12 * std + 2 * order + 3, 40_001)

        def divergence(p, q, x=x, order=order):
            return (logsumexp(order * p + (1 - order) * q) + math.log(x[1] - x[0])) / (order - 1)

        exact = divergence(log_mixture(x, rate, 1, std), log_mixture(x, rate, -1, std))
        assert exact <= divergence(log_mixture(x, rate, 2, std), log_mixture(x, 1, 0, std)) * (1 + 1e-6) + 1e-10


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.7])
@pytest.mark.parametrize("std", [0.7, 2.0])
def test_opposite_gradients_are_the_worst_case(rate, std):
    # In the plane of g, g' and 0, over directions and norms, at positive and negative ε.
    side = np.linspace(-8 * std - 1, 8 * std + 1, 401)
    x, y = np.meshgrid(side, side)
    area = (side[1] - side[0]) ** 2

    def mixture(mean):
        def normal(m):
            return np.exp(-((x - m[0]) ** 2 + (y - m[1]) ** 2) / (2 * std**2)) / (2 * math.pi * std**2)

        return (1 - rate) * normal((0, 0)) + rate * normal(mean)

    def divergence(one, other, value):
        return np.maximum(one - math.exp(value) * other, 0).sum() * area

    first = mixture((1.0, 0.0))
    others = [
        mixture((length * math.cos(angle), length * math.sin(angle)))
        for length in (0.4, 1.0)
        for angle in np.linspace(0, math.pi, 7)
    ]
    worst = mixture((-1.0, 0.0))
    for value in (-1.0, -0.1, 0.0, 0.1, 1.0):
        bound = divergence(first, worst, value)
        for other in others:
            assert divergence(first, other, value) <= bound + 1e-6
            assert divergence(other, first, value) <= bound + 1e-6


@pytest.mark.parametrize("rate", [0.001, 0.08192, 0.9])
@pytest.mark.parametrize("steps", [2, 37, 2441])
def test_many_replacements_are_dominated_at_twice_the_clip_norm(rate, steps):
    compared = 0
    for sigma in (1.0, 2.5, 16.0):
        mechanism = {"noise_multiplier": sigma, "sampling_rate": rate, "steps": steps, "delta": 1e-5}
        if epsilon("rdp", **mechanism) < 50:
            compared += 1
            assert replacement_epsilon(**mechanism) <= epsilon("pld", **mechanism) * (1 + 2e-4) + 1e-5
    assert compared


def test_the_exact_replacement_is_what_quadrature_says():
    rate, sigma = 0.3, 0.8
    x = np.linspace(-25, 25, 200_001)
    upper, lower = log_mixture(x, rate, 1, 2 * sigma), log_mixture(x, rate, -1, 2 * sigma)
    spent = replacement_epsilon(noise_multiplier=sigma, sampling_rate=rate, steps=1, delta=1e-3)
    assert hockey_stick(upper, lower, x, spent) == pytest.approx(1e-3, rel=1e-3)


def test_the_undoubled_noise_of_the_peers_is_not_enough():
    # σ for ε = 8 used with sensitivity C instead of 2C: the replacement then sees half the noise multiplier.
    plan = Plan.calibrated(
        population=50_000, batch_size=4096, epochs=200, clip_norm=1, epsilon=8, delta=1e-5, microbatch_size=2
    )
    mechanism = {"sampling_rate": plan.sampling_rate, "steps": plan.steps, "delta": plan.delta}
    assert replacement_epsilon(noise_multiplier=plan.noise_multiplier, **mechanism) <= 8
    assert replacement_epsilon(noise_multiplier=plan.noise_multiplier / 2, **mechanism) > 16


def test_a_microbatch_plan_is_held_to_the_exact_pair(monkeypatch):
    monkeypatch.setattr(plan_module, "replacement_epsilon", lambda **_: 3.1)
    with pytest.raises(PrivacyError, match="use microbatch_size 1"):
        Plan.calibrated(**SIZES, epsilon=3, microbatch_size=2)
    Plan.calibrated(**SIZES, epsilon=3)
