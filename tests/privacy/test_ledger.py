"""ε is computed from what was executed: noise that was measured, samples that were counted, steps that were taken."""

import json
from dataclasses import replace

import pytest
import torch

from dpmix.errors import PrivacyError
from dpmix.privacy.accounting import epsilons
from dpmix.privacy.banded_plan import banded_plan
from dpmix.privacy.ledger import Ledger, as_rows, from_rows
from dpmix.privacy.noise import SecureNoise, SeededNoise
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import PoissonSampler, Sample, executed_rate
from tests.privacy.executed_runs import SIZES, executed


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.calibrated(**SIZES, epsilon=3)


class Scaled:
    """A noise source that adds less than it is asked for."""

    def __init__(self, share: float) -> None:
        self.share, self.source = share, SeededNoise(3)

    def add(self, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:
        return self.source.add(total, std * self.share, step=step, name=name)


class Greedy:
    """A sampler that says one rate and takes units at another."""

    def __init__(self, plan: Plan, share: float) -> None:
        self.population = plan.units
        self.said, self.real = plan.sampler(1), PoissonSampler(plan.units, plan.sampling_rate * share, 1)

    def sample(self, step: int) -> Sample:
        return self.said.sample(step)._replace(units=self.real.sample(step).units)


@pytest.mark.parametrize("seed", [5, None])
def test_an_honest_run_is_certified_with_the_epsilon_of_what_it_did(plan: Plan, seed: int | None) -> None:
    ledger = executed(plan, plan.noise(seed), plan.sampler(seed))
    found = ledger.certify(plan)
    ((sigma, rate, steps),) = ledger.history()
    assert sigma == pytest.approx(plan.noise_multiplier, rel=1e-12)
    assert (rate, steps) == (executed_rate(0.2), 40)
    assert found == epsilons(noise_multiplier=sigma, sampling_rate=rate, steps=steps, delta=1e-5)
    assert 2.9 < found["pld"] <= 3


@pytest.mark.parametrize("seed", [5, None])
def test_an_honest_banded_run_is_certified(seed: int | None) -> None:
    banded = banded_plan(**SIZES, epsilon=3, bands=4)
    found = executed(banded, banded.noise(seed), banded.sampler(seed)).certify(banded)
    rate = executed_rate(banded.part_rate)
    mechanism = {"sampling_rate": rate, "steps": 10, "delta": 1e-5}
    assert found == pytest.approx(epsilons(noise_multiplier=banded.noise_multiplier, **mechanism), rel=1e-9)
    assert found["pld"] <= 3


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_source_that_adds_less_noise_than_it_was_asked_for_is_refused(plan: Plan, share: float) -> None:
    ledger = executed(plan, Scaled(share), plan.sampler(1))
    with pytest.raises(PrivacyError, match=r"the noise that was added has [0-9.]+ of the standard deviation"):
        ledger.certify(plan)


def test_noise_that_float32_swallows_is_refused(plan: Plan) -> None:
    """Beside a sum of 10⁹, float32 has steps of 64: the noise is gone."""
    ledger = Ledger()
    for step in range(plan.steps):
        ledger.add_noise(SeededNoise(3), torch.full((2000,), 1e9), plan.noise_std, step=step, name="weight")
        ledger.close_step(plan.sampler(1).sample(step), plan.sensitivity)
    with pytest.raises(PrivacyError, match="the noise that was added"):
        ledger.certify(plan)


def test_less_noise_asked_for_than_planned_is_refused(plan: Plan) -> None:
    with pytest.raises(PrivacyError, match="noise multiplier"):
        executed(plan, SeededNoise(3), plan.sampler(1), std=0.9).certify(plan)


@pytest.mark.parametrize("shares", [(1.0, 0.5), (0.5, 1.0), (2.0, 0.5, 1.0)])
def test_one_parameter_with_less_noise_counts_for_the_step(plan: Plan, shares: tuple[float, ...]) -> None:
    """Whichever it is."""
    ledger = Ledger()
    for name, share in zip("abc", shares, strict=False):
        ledger.add_noise(SeededNoise(3), torch.zeros(500), plan.noise_std * share, step=0, name=name)
    ledger.close_step(plan.sampler(1).sample(0), plan.sensitivity)
    assert ledger.history()[0].noise_multiplier == pytest.approx(plan.noise_multiplier / 2)


@pytest.mark.parametrize("share", [1.4, 0.6])
def test_a_sampler_that_says_another_rate_than_it_takes_is_refused(plan: Plan, share: float) -> None:
    with pytest.raises(PrivacyError, match="the samples hold"):
        executed(plan, SeededNoise(3), Greedy(plan, share)).certify(plan)


def test_a_higher_rate_that_is_said_is_refused(plan: Plan) -> None:
    with pytest.raises(PrivacyError, match="sampling rate"):
        executed(plan, SeededNoise(3), PoissonSampler(plan.units, 0.25, 1)).certify(plan)


@pytest.mark.parametrize("steps", [39, 41])
def test_other_steps_than_planned_are_refused(plan: Plan, steps: int) -> None:
    with pytest.raises(PrivacyError, match="steps were executed"):
        executed(plan, SeededNoise(3), plan.sampler(1), steps).certify(plan)


def test_a_plan_whose_noise_was_edited_certifies_nothing(plan: Plan) -> None:
    edited = Plan.from_json(json.loads(json.dumps({**plan.to_json(), "noise_multiplier": 0.3})))
    with pytest.raises(PrivacyError, match=r"spends epsilon \d+.* above the target 3"):
        edited.check()
    with pytest.raises(PrivacyError, match="above its target 3"):
        executed(edited, SeededNoise(3), edited.sampler(1)).certify(edited)


def test_noise_that_nobody_measured_certifies_nothing(plan: Plan) -> None:
    ledger = Ledger()
    ledger.record(plan, plan.steps)
    ledger.check(plan)
    with pytest.raises(PrivacyError, match="nobody measured the noise"):
        ledger.certify(plan)


def test_a_step_without_noise_asked_for_cannot_be_closed(plan: Plan) -> None:
    with pytest.raises(PrivacyError, match="without noise"):
        Ledger().close_step(plan.sampler(1).sample(0), plan.sensitivity)


def test_what_is_measured_stays_in_memory(plan: Plan) -> None:
    ledger = executed(plan, SecureNoise(), plan.sampler(None), steps=10)
    ledger.verify()
    assert ledger.to_json() == [[pytest.approx(plan.noise_multiplier), executed_rate(0.2), 10]]


def test_rows_survive_json(plan: Plan) -> None:
    rows = executed(plan, SeededNoise(3), plan.sampler(1), steps=3).history()
    assert from_rows(json.loads(json.dumps(as_rows(rows)))) == rows


def test_microbatches_are_held_to_the_exact_pair(plan: Plan) -> None:
    pairs = Plan.calibrated(**SIZES, epsilon=3, microbatch_size=2)
    pairs.check()
    with pytest.raises(PrivacyError):
        replace(pairs, noise_multiplier=pairs.noise_multiplier / 2).check()


@pytest.mark.parametrize(
    ("rows", "steps"),
    [([[9.0, 0.2, 5]], 5), ([[1.0, 0.1, 5]], 5), ([[1.0, 0.2, 5]], 4), ([[1.0, 0.2, 5]], 0), ([], 5),
     ([[1.0, 0.2, 50]], 50), ([[float("nan"), 0.2, 5]], 5)],
)  # fmt: skip
def test_a_ledger_from_a_file_is_a_claim(rows: list[list[float]], steps: int) -> None:
    plan = Plan.make(**SIZES, noise_multiplier=1.0)
    Ledger.from_json([[1.0, executed_rate(0.2), 5]]).refuse_another(plan, 5)
    rows = [[sigma, executed_rate(rate), count] for sigma, rate, count in rows]
    with pytest.raises(PrivacyError):
        Ledger.from_json(rows).refuse_another(plan, steps)


@pytest.mark.parametrize(
    "row", [[1.0, 0.2], [1.0, 0.2, 5, 3.0], [1.0, 0.2, 5, 3.0, 1.0, 1.0], [1.0, 0.2, 4.9], [1.0, 0.2, "x"]]
)
def test_a_row_that_no_ledger_wrote_is_refused(row: list[float]) -> None:
    with pytest.raises(ValueError, match=r"is no row of a ledger|could not convert|invalid literal"):
        Ledger.from_json([row])
