"""Plans of ModelMix: calibrated by the smaller bound, held to what was executed, refused when anything was edited."""

import json
import math
from dataclasses import replace

import pytest
import torch

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accounting import Steps, epsilons
from dpmix.privacy.ledger import Ledger
from dpmix.privacy.model_mix import MixRule, SecureMixing, SeededMixing
from dpmix.privacy.model_mix_accounting import MixedSteps, amplified_epsilon
from dpmix.privacy.model_mix_plan import ModelMixPlan, model_mix_plan
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import executed_rate
from tests.privacy.mixed_runs import PLAN, RATE, SHAPES, honest, mixed_run

TARGET = {"population": 400, "batch_size": 80, "epochs": 4, "clip_norm": 0.5, "delta": 1e-5, "accountant": "rdp"}
MIXED = {"mix_width": 0.05, "truncation": 100}


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return mixed_run()


def test_an_honest_run_is_certified_by_the_smaller_bound(ledger: Ledger) -> None:
    found = ledger.certify(PLAN)
    rate = executed_rate(0.2)
    (row,) = ledger.mixed()
    assert row == pytest.approx(MixedSteps(PLAN.noise_multiplier, rate, 20, 0.05 * 80 / 0.5, 100), rel=1e-9)
    plain = epsilons(noise_multiplier=ledger.history()[0].noise_multiplier, sampling_rate=rate, steps=20, delta=1e-5)
    assert found == {**plain, "model-mix": amplified_epsilon([row], delta=1e-5)}
    assert ledger.stated(PLAN) == ("model-mix", found["model-mix"])
    assert 2.9 < found["model-mix"] <= 3 < found["rdp"]


def test_amplification_needs_less_gaussian_noise() -> None:
    assert PLAN.noise_multiplier < 0.8 * Plan.calibrated(**TARGET, epsilon=3).noise_multiplier
    assert PLAN.epsilons()["model-mix"] <= 3


def test_where_plain_accounting_is_tighter_it_is_used() -> None:
    """Next to no width: Rényi orders, whole ones only, then lose to the plan's accountant."""
    plan = model_mix_plan(**{**TARGET, "accountant": "pld"}, epsilon=3, mix_width=1e-6)
    plain = Plan.calibrated(**{**TARGET, "accountant": "pld"}, epsilon=3)
    assert plan.noise_multiplier == plain.noise_multiplier
    assert plan.stated([Steps(plan.noise_multiplier, 0.2, 20)], [MixedSteps(plan.noise_multiplier, 0.2, 20, 0, 1)]) == (
        "pld", plain.stated([Steps(plain.noise_multiplier, 0.2, 20)])[1],
    )  # fmt: skip


def test_a_target_below_the_whole_orders_is_met_by_the_accountant() -> None:
    plan = model_mix_plan(**TARGET, epsilon=0.15, **MIXED)
    assert plan.noise_multiplier == Plan.calibrated(**TARGET, epsilon=0.15).noise_multiplier


@pytest.mark.parametrize("change", [{"noise_multiplier": 0.3}, {"mix_width": 0.01}, {"truncation": 1.0}])
def test_a_plan_that_was_edited_is_refused(change: dict) -> None:
    PLAN.check()
    edited = ModelMixPlan.from_json({**PLAN.to_json(), **change})
    with pytest.raises(PrivacyError, match=r"spends epsilon .* above the target 3"):
        edited.check()


@pytest.mark.parametrize("change", [{"mix_width": 0.06}, {"truncation": 120.0}])
def test_a_run_that_mixed_less_than_its_plan_is_refused(ledger: Ledger, change: dict) -> None:
    with pytest.raises(PrivacyError, match=r"a step mixed over a width of 8 C|up to C / sqrt\(100\) through"):
        ledger.certify(replace(PLAN, **change))


def test_a_run_of_plain_sgd_is_no_run_of_model_mix() -> None:
    plain = Ledger()
    plain.add(PLAN.noise_multiplier, PLAN.sampling_rate, PLAN.steps)
    with pytest.raises(PrivacyError, match="a step left some parameter unmixed"):
        plain.check(PLAN)
    assert "model-mix" not in plain.spent(PLAN)
    assert plain.stated(PLAN)[0] == "rdp"


@pytest.mark.parametrize("left_out", list(SHAPES))
def test_one_parameter_that_is_not_mixed_unmixes_the_step(left_out: str) -> None:
    def update(last, before, noisy, alpha, rule, step, name):
        return last - rule.scale * noisy if name == left_out else honest(last, before, noisy, alpha, rule, step, name)

    with pytest.raises(PrivacyError, match="a step left some parameter unmixed"):
        mixed_run(update=update, unmeasured=left_out).certify(PLAN)


def test_a_parameter_that_is_frozen_out_of_the_mixing_later_unmixes_those_steps() -> None:
    """Its widths of earlier steps are not those of later ones."""
    ledger = mixed_run(unmeasured="norm.bias", since=PLAN.steps - 1)
    assert [row.steps for row in ledger.mixed()] == [PLAN.steps - 1]
    with pytest.raises(PrivacyError, match="a step left some parameter unmixed"):
        ledger.certify(PLAN)


def test_a_learning_rate_that_rises_alone_narrows_the_mixing() -> None:
    """τ stays and η doubles at step 10: τ / η is what hides the gradient."""
    width, units = PLAN.mix_width * RATE, PLAN.expected_units
    ledger = mixed_run(rule=lambda step: MixRule(width, RATE * (1 if step < 10 else 2), units))
    assert sorted((row.width, row.steps) for row in ledger.mixed()) == [(pytest.approx(4), 10), (pytest.approx(8), 10)]
    with pytest.raises(PrivacyError, match="a step mixed over a width of 4 C on the clipped sum, not the planned 8 C"):
        ledger.certify(PLAN)
    assert ledger.spent(PLAN)["model-mix"] > 3


def test_a_rate_that_falls_with_its_width_is_as_planned() -> None:
    units = PLAN.expected_units
    ledger = mixed_run(rule=lambda step: MixRule(PLAN.mix_width * RATE / (1 + step), RATE / (1 + step), units))
    assert ledger.certify(PLAN)["model-mix"] <= 3


def test_a_mode_that_cuts_no_coordinates_is_refused() -> None:
    with pytest.raises(PrivacyError, match=r"entries of gradients up to C / sqrt\(1\) through"):
        mixed_run(largest=PLAN.clip_norm).certify(PLAN)


def test_sums_with_entries_beyond_the_bound_are_refused() -> None:
    """The clipping mode says C / 10, and something adds up one entry of C."""
    ledger = Ledger()
    total = torch.zeros(1000)
    sample = PLAN.sampler(1).sample(0)
    total[3] = len(sample.units) * PLAN.clip_norm
    noise = PLAN.noise(3)
    ledger.add_noise(noise, total, PLAN.noise_std, step=0, name="weight")
    ledger.close_step(sample, PLAN.sensitivity, PLAN.clip_norm / 10)
    with pytest.raises(PrivacyError, match="an entry of a sum is larger than the clipped gradients"):
        ledger.verify()


def test_a_checkpoints_ledger_keeps_what_was_mixed(ledger: Ledger) -> None:
    rows = json.loads(json.dumps(ledger.to_json()))
    again = Ledger.from_json(rows)
    assert again.mixed() == ledger.mixed()
    again.refuse_another(PLAN, PLAN.steps)
    (row,) = rows
    for edited in ([[*row[:3], 2 * row[3], row[4]]], [[*row[:4], 400.0]], [row[:3]]):
        with pytest.raises(PrivacyError, match="mixed released states otherwise than is planned"):
            Ledger.from_json(edited).refuse_another(PLAN, PLAN.steps)
    plain = Plan.make(**TARGET, noise_multiplier=PLAN.noise_multiplier)
    with pytest.raises(PrivacyError, match="mixed released states otherwise than is planned"):
        Ledger.from_json(rows).refuse_another(plain, PLAN.steps)


def test_heavy_ball_and_decay_of_released_states_are_as_private() -> None:
    units = PLAN.expected_units
    ledger = mixed_run(rule=lambda step: MixRule(PLAN.mix_width * RATE, RATE, units, 0.5, 0.01))
    assert ledger.certify(PLAN) == mixed_run().certify(PLAN)


def test_the_source_of_alpha_follows_the_seed() -> None:
    assert isinstance(PLAN.mixing(3), SeededMixing)
    assert isinstance(PLAN.mixing(None), SecureMixing)
    assert Plan.calibrated(**TARGET, epsilon=3).mixing(3) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mix_width": 0.0}, "mix_width 0.0 is not a finite number above 0"),
        ({"mix_width": math.nan}, "mix_width nan"),
        ({"truncation": 0.5}, "truncation 0.5 is not a finite number >= 1"),
        ({"microbatch_size": 2}, "not proven for microbatches; use microbatch_size 1"),
    ],
)
def test_what_does_not_fit_is_one_line(change: dict, said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        model_mix_plan(**{**TARGET, **MIXED, "epsilon": 3, **change})


def test_without_a_target_there_is_no_noise() -> None:
    plan = model_mix_plan(**TARGET, epsilon=math.inf, **MIXED)
    assert not plan.private
    assert plan.epsilons()["model-mix"] == math.inf
