"""Batches in a fixed order: the same in each epoch, accounted by the worst case, and never by the nominal ε."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accounting import Steps, epsilon
from dpmix.privacy.fixed_order import FixedOrderPlan, FixedOrderSampler, fixed_order_plan
from dpmix.privacy.ledger import Ledger
from dpmix.privacy.plan import Plan

TARGET = {
    "population": 103, "batch_size": 20, "epochs": 4, "clip_norm": 0.5, "epsilon": 2, "delta": 1e-5, "accountant": "rdp"
}  # fmt: skip


@pytest.fixture
def plan() -> FixedOrderPlan:
    return fixed_order_plan(**TARGET)


def executed(plan: Plan, sampler: object, steps: int, std: float | None = None) -> Ledger:
    """The ledger of a run whose clipped sums are zero."""
    ledger, noise = Ledger(plan.noise_column), plan.noise(seed=3)
    for step in range(steps):
        ledger.add_noise(noise, torch.zeros(500), plan.noise_std if std is None else std, step=step, name="weight")
        ledger.close_step(sampler.sample(step), plan.sensitivity)
    return ledger


def test_every_record_is_in_one_batch_of_each_epoch() -> None:
    sampler = FixedOrderSampler(103, 20, seed=1)
    epochs = [[sampler.sample(6 * epoch + step) for step in range(6)] for epoch in range(3)]
    assert [len(sample.units) for sample in epochs[0]] == [20, 20, 20, 20, 20, 3]
    for epoch in epochs:
        assert sorted(np.concatenate([sample.units for sample in epoch]).tolist()) == list(range(103))
        for sample, first in zip(epoch, epochs[0], strict=True):
            assert np.array_equal(sample.units, first.units)
            assert np.array_equal(sample.candidates, sample.units)
            assert sample.rate == 1
            assert np.array_equal(np.sort(sample.units), sample.units)
    # Of another seed another order, and neither that of the indices.
    other = FixedOrderSampler(103, 20, seed=2).sample(0).units
    assert not np.array_equal(other, epochs[0][0].units)
    assert epochs[0][0].units.max() > 19


def test_noise_is_nominal_and_epsilon_is_not(plan: FixedOrderPlan) -> None:
    poisson = Plan.calibrated(**TARGET)
    assert plan.noise_multiplier == poisson.noise_multiplier
    assert (plan.steps, poisson.steps) == (24, 20)
    assert plan.nominal_epsilon == 2 < plan.target_epsilon
    # δ(ε) = Φ(μ/2 - ε/μ) - e^ε Φ(-μ/2 - ε/μ) for μ = √E / σ, at the tightest ε.
    mu, spent = math.sqrt(4) / plan.noise_multiplier, plan.epsilons()
    delta = ndtr(mu / 2 - spent["pld"] / mu) - math.exp(spent["pld"]) * ndtr(-mu / 2 - spent["pld"] / mu)
    assert delta == pytest.approx(1e-5, rel=2e-3)
    assert 2 < spent["pld"] < spent["rdp"] <= plan.target_epsilon < spent["rdp"] + 1e-5
    assert spent["rdp"] == epsilon(
        "rdp", noise_multiplier=plan.noise_multiplier, sampling_rate=1.0, steps=4, delta=1e-5
    )


def test_sums_are_divided_as_the_released_program_does(plan: FixedOrderPlan) -> None:
    assert plan.expected_units == 17  # ⌊103 / 6⌋
    assert (plan.sampling_rate, plan.step_rate, plan.least_gap) == (1.0, 1.0, 6)


def test_what_is_certified_is_the_worst_case(plan: FixedOrderPlan) -> None:
    ledger = executed(plan, plan.sampler(0), plan.steps)
    assert ledger.certify(plan) == plan.epsilons()
    assert ledger.stated(plan) == ("rdp", pytest.approx(plan.target_epsilon, abs=2e-6))
    # Half an epoch later a record may have been in one more batch.
    sigma = plan.noise_multiplier
    assert plan.accounted([Steps(sigma, 1.0, 12)]) == [Steps(sigma, 1.0, 2)]
    assert plan.accounted([Steps(sigma, 1.0, 13)]) == [Steps(sigma, 1.0, 3)]
    assert plan.accounted([Steps(2 * sigma, 1.0, 6), Steps(sigma, 1.0, 6)]) == [Steps(sigma, 1.0, 2)]
    assert plan.accounted([]) == []


def test_a_poisson_plan_does_not_certify_it(plan: FixedOrderPlan) -> None:
    """What the released program does: its noise and its steps, and another sampler than it is accounted with."""
    poisson = replace(Plan.calibrated(**TARGET), steps=plan.steps, target_epsilon=math.inf)
    with pytest.raises(PrivacyError, match=r"sampling rate 1, above the planned 0\.194"):
        executed(poisson, plan.sampler(0), plan.steps).certify(poisson)


def test_a_sampler_that_comes_back_too_early_is_noticed(plan: FixedOrderPlan) -> None:
    early = FixedOrderSampler(plan.population, 2 * plan.batch_size, seed=0)  # three batches, not six
    with pytest.raises(PrivacyError, match="sampled twice within 6 steps"):
        executed(plan, early, plan.steps).certify(plan)


def test_too_little_noise_is_noticed(plan: FixedOrderPlan) -> None:
    with pytest.raises(PrivacyError, match="noise multiplier"):
        executed(plan, plan.sampler(0), plan.steps, std=plan.noise_std / 2).certify(plan)


def test_a_plan_that_claims_its_nominal_epsilon_is_refused(plan: FixedOrderPlan) -> None:
    plan.check()
    with pytest.raises(PrivacyError, match="above the target 2"):
        replace(plan, target_epsilon=2.0).check()
    with pytest.raises(PrivacyError, match=r"is nominally epsilon .* above 1"):
        replace(plan, nominal_epsilon=1.0).check()


def test_without_noise_there_is_no_epsilon() -> None:
    plan = fixed_order_plan(**{**TARGET, "epsilon": math.inf})
    assert (plan.noise_std, plan.target_epsilon, plan.nominal_epsilon) == (0, math.inf, math.inf)
    plan.check()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"microbatch_size": 2}, "not accounted for with microbatches"),
        ({"epochs": 0.5}, "0.5 epochs are no whole number of passes"),
        ({"batch_size": 104}, "exceeds the 103 examples"),
    ],
)
def test_what_cannot_be_accounted_is_refused(change: dict[str, float], words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        fixed_order_plan(**{**TARGET, **change})
    with pytest.raises(ParamsError, match="nominal epsilon 0 is not above 0"):
        replace(fixed_order_plan(**TARGET), nominal_epsilon=0)
