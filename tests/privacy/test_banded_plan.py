"""Banded plans: accounted as fewer steps at a higher rate, and what banding gains."""

import math

import numpy as np
import pytest
import torch

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accounting import epsilon
from dpmix.privacy.audit import epsilon_lower_bound
from dpmix.privacy.banded_noise import BandedNoise
from dpmix.privacy.banded_plan import BandedPlan, banded_plan, relative_rmse
from dpmix.privacy.calibration import noise_multiplier
from dpmix.privacy.cyclic_sampling import cyclic_poisson_sample
from dpmix.privacy.ledger import Ledger
from dpmix.privacy.matrix_factorization import prefix_rmse, strategy
from dpmix.privacy.plan import Plan
from tests.privacy.bands import DELTA, matrix

# --- Plans -----------------------------------------------------------------------------------------------------------
TARGET = {
    "population": 1000,
    "batch_size": 100,
    "epochs": 6.2,
    "clip_norm": 0.5,
    "epsilon": 4.0,
    "delta": DELTA,
}


@pytest.fixture(scope="module")
def banded() -> BandedPlan:
    return banded_plan(**TARGET, bands=4)


def test_accounted_as_fewer_steps_at_a_higher_rate(banded):
    assert (banded.steps, banded.bands, banded.participations, banded.part_rate) == (62, 4, 16, 0.4)
    sigma = noise_multiplier("pld", epsilon=4.0, delta=DELTA, sampling_rate=0.4, steps=16)
    assert banded.noise_multiplier == sigma
    assert banded.noise_std == sigma * 0.5
    for name, value in banded.epsilons().items():
        spent = epsilon(name, noise_multiplier=sigma, sampling_rate=0.4, steps=16, delta=DELTA)
        assert value == pytest.approx(spent, rel=1e-12)
    assert 3.99 < banded.epsilons()["pld"] <= 4
    assert banded.coefficients == strategy(4, 62)
    assert banded_plan(**TARGET, bands=4, kind="sqrt").coefficients == strategy(4, 62, "sqrt")


@pytest.mark.parametrize("microbatch_size", [1, 2])
def test_one_band_is_the_plan_of_dp_sgd(microbatch_size):
    plain = Plan.calibrated(**TARGET, microbatch_size=microbatch_size)
    one = banded_plan(**TARGET, microbatch_size=microbatch_size, bands=1)
    values = one.to_json()
    assert values.pop("coefficients") == (1.0,)
    assert values == plain.to_json()
    assert one.part_rate == plain.sampling_rate
    assert one.participations == plain.steps
    ledger = Ledger()
    ledger.record(plain, 5)
    assert ledger.spent(one) == ledger.spent(plain)


@pytest.mark.parametrize("target", [1.0, 8.0])
@pytest.mark.parametrize("bands", [2, 5, 10])
def test_without_its_trainer_a_banded_plan_only_adds_too_much_noise(bands, target):
    """Amplification favours low rates: DP-SGD at B / N with the banded σ spends less than what was planned."""
    sigma = noise_multiplier("pld", epsilon=target, delta=DELTA, sampling_rate=0.1 * bands, steps=-(-60 // bands))
    assert epsilon("pld", noise_multiplier=sigma, sampling_rate=0.1, steps=60, delta=DELTA) < target


def test_ledgers_count_turns(banded):
    ledger = Ledger()
    ledger.record(banded, 62)
    ledger.check(banded)
    assert ledger.spent(banded) == banded.epsilons()
    interrupted = Ledger()
    interrupted.record(banded, 30)
    interrupted.check(banded)
    sigma = banded.noise_multiplier
    expected = epsilon("pld", noise_multiplier=sigma, sampling_rate=0.4, steps=8, delta=DELTA)
    assert interrupted.spent(banded)["pld"] == pytest.approx(expected)
    assert expected < 4
    longer = Ledger()
    longer.record(banded, 63)
    with pytest.raises(PrivacyError, match="63 steps"):
        longer.check(banded)
    # Steps unlike each other all count as the most revealing, whoever's turn they were.
    mixed = Ledger()
    mixed.add(2 * sigma, 0.2, 3)
    mixed.add(sigma, 0.4, 2)
    assert banded.accounted(mixed.history()) == [(sigma, 0.4, 2)]
    assert banded.accounted([]) == []


def test_no_privacy_no_noise():
    plan = banded_plan(**{**TARGET, "epsilon": math.inf}, bands=4)
    assert plan.noise_std == 0
    assert set(plan.epsilons().values()) == {math.inf}
    with pytest.raises(ParamsError, match="finite epsilon"):
        relative_rmse(plan)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bands": 0}, "number of bands"),
        ({"bands": 2.0}, "number of bands"),
        ({"bands": 11}, "use at most 10 bands"),
        ({"batch_size": 600}, "use at most 1 bands"),
        ({"epochs": 0.3}, "4 bands exceed the 3 steps"),
        ({"microbatch_size": 2}, "microbatches"),
        ({"kind": "best"}, "there are optimal, sqrt"),
        ({"kind": "optimum"}, "did you mean 'optimal'"),
        ({"clip_norm": 0}, "clip norm"),
    ],
)
def test_what_cannot_be_accounted(changes, words):
    with pytest.raises(ParamsError, match=words):
        banded_plan(**{**TARGET, "bands": 4, **changes})
    with pytest.raises(ParamsError, match="use at most 3 bands"):
        cyclic_poisson_sample(0, 0, 10, 3, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("population", "batch_size", "epochs", "target", "bands", "expected"),
    [
        (24_485, 1000, 10, 8.0, 8, 0.78),  # Caltech256
        (50_000, 1000, 10, 8.0, 24, 0.66),  # CIFAR-10, fine-tuning
        (50_000, 4096, 200, 8.0, 2, 1.03),  # CIFAR-10, from scratch
    ],
)
def test_what_banding_gains(population, batch_size, epochs, target, bands, expected):
    """The truncated square root against figures computed independently, by another program."""
    plan = banded_plan(
        population=population,
        batch_size=batch_size,
        epochs=epochs,
        clip_norm=1.0,
        epsilon=target,
        delta=DELTA,
        bands=bands,
        kind="sqrt",
    )
    assert relative_rmse(plan) == pytest.approx(expected, abs=0.015)
    better = prefix_rmse(strategy(bands, plan.steps), plan.steps) / prefix_rmse(plan.coefficients, plan.steps)
    assert 0.85 < better < 0.97


@pytest.mark.slow
def test_at_epsilon_one_banding_gains_nothing():
    plan = banded_plan(**{**TARGET, "population": 24_485, "batch_size": 1000, "epochs": 10, "epsilon": 1.0}, bands=8)
    assert relative_rmse(plan) > 1.05


# --- Audit -----------------------------------------------------------------------------------------------------------
def attack(plan: BandedPlan, *, every_step: bool = False, less_noise: float = 1.0) -> float:
    """ε's lower bound from canaries with a coordinate each, all of the first part, in at random; every draw is seen.

    Sampling is off (q = 1), so that the bound can come close.
    """
    count, random = 20_000, np.random.default_rng(1)
    inside = random.random(count) < 0.5
    noise = BandedNoise(plan.coefficients, seed=6)
    released = []
    for step in range(plan.steps):
        present = inside if every_step or step % plan.bands == 0 else np.zeros(count, bool)
        total = torch.from_numpy(present.astype(np.float32) * plan.clip_norm)
        released.append(noise.add(total, plan.noise_std / less_noise, step=step, name="weight").double().numpy())
    encoder = matrix(plan.coefficients, plan.steps)
    used = encoder[:, :: 1 if every_step else plan.bands].sum(axis=1)
    scores = used @ (encoder @ np.stack(released))
    return epsilon_lower_bound(scores[inside], scores[~inside], DELTA, confidence=0.99, method="mean")


def test_canaries_against_banded_noise():
    plan = banded_plan(population=300, batch_size=100, epochs=2, clip_norm=0.5, epsilon=4.0, delta=DELTA, bands=3)
    assert (plan.part_rate, plan.steps) == (1.0, 6)
    assert 3.6 < attack(plan) <= 4
    assert attack(plan, less_noise=2) > 8
    # Noise that is accounted by turns does not hide records who are there at every step.
    assert attack(plan, every_step=True) > 4.5
