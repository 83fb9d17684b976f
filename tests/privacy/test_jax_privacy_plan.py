"""Our plan beside jax-privacy's execution plan of the same N, B, T, σ and C: one ε, one sampling, one noise.

The JAX engine takes clipped sums from jax-privacy, and samples and noise from our own plan (docs/choices.md). What it
executes must be what jax-privacy would have executed.
"""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from dpmix.privacy.plan import Plan
from tests.needs import JAX_PRIVACY, module

POPULATION, BATCH, EPOCHS, CLIP_NORM, NOISE, DELTA = 600, 90, 12, 0.7, 1.3, 1e-5
DRAWS = 4000


@pytest.fixture
def ours() -> Plan:
    return Plan.make(
        population=POPULATION, batch_size=BATCH, epochs=EPOCHS, clip_norm=CLIP_NORM, noise_multiplier=NOISE, delta=DELTA
    )


def theirs(plan: Plan, accountant: Any, **changes: Any) -> Any:
    """jax-privacy's plan for DP-SGD (one band), if a record is added or removed."""
    execution = module("jax_privacy.experimental.execution_plan", JAX_PRIVACY)
    settings = {
        "iterations": plan.steps, "strategy": np.ones(1), "epsilon": None, "delta": None,
        "noise_multiplier": plan.noise_multiplier, "sampling_prob": plan.sampling_rate, "l2_clip_norm": plan.clip_norm,
        "rescale_to_unit_norm": False, "accountant": accountant, "noise_seed": 0,
        "partition_type": module("jax_privacy.batch_selection", JAX_PRIVACY).PartitionType.INDEPENDENT,
    }  # fmt: skip
    return execution.BandMFExecutionPlanConfig(**{**settings, **changes}).plan


def accountants(orders: list[float] | None = None) -> dict[str, Any]:
    accounting = module("dp_accounting", "dp-accounting")
    relation = accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    return {
        "rdp": accounting.rdp.RdpAccountant(orders, neighboring_relation=relation),
        "pld": accounting.pld.PLDAccountant(relation),
    }


# Of Rényi moments, Opacus's bound and dp-accounting's differ by a thousandth; of loss distributions there is one.
@pytest.mark.parametrize(("name", "apart"), [("rdp", 2e-3), ("pld", 1e-4)])
def test_both_plans_have_one_epsilon(ours: Plan, name: str, apart: float) -> None:
    accountant = accountants()[name]
    plan = theirs(ours, accountant)
    expected = accountant.compose(plan.dp_event).get_epsilon(DELTA)
    assert 1 < expected < 20
    assert ours.epsilons()[name] == pytest.approx(expected, rel=apart)
    half = accountants()[name].compose(theirs(ours, accountants()[name], noise_multiplier=NOISE / 2).dp_event)
    assert half.get_epsilon(DELTA) > 1.5 * expected


def test_both_samplers_draw_one_distribution(ours: Plan) -> None:
    """Of both, sizes are binomial and records independent; batches of one size would not be."""
    sampler = ours.sampler(1)
    strategy = theirs(ours, accountants()["pld"], iterations=DRAWS).batch_selection_strategy
    drawn = {
        "ours": [sampler.sample(step).units for step in range(DRAWS)],
        "theirs": list(strategy.batch_iterator(POPULATION, np.random.default_rng(2))),
    }
    for samples in drawn.values():
        assert all(len(np.unique(sample)) == len(sample) for sample in samples)
        sizes = np.array([len(sample) for sample in samples])
        assert binomial(sizes) > 1e-4
        counts = np.bincount(np.concatenate(samples), minlength=POPULATION)
        spread = ((counts - DRAWS * 0.15) ** 2).sum() / (DRAWS * 0.15 * 0.85)
        assert stats.chi2.sf(spread, POPULATION) > 1e-4
        assert stats.chi2.cdf(spread, POPULATION) > 1e-4
    assert binomial(np.full(DRAWS, BATCH)) < 1e-12  # what batches of one size would be


def binomial(sizes: np.ndarray) -> float:
    """The p-value of sizes that should be Binomial(N, B / N), over its deciles."""
    rate = BATCH / POPULATION
    edges = np.unique(stats.binom.ppf(np.linspace(0.1, 0.9, 9), POPULATION, rate))
    found = np.bincount(np.searchsorted(edges, sizes), minlength=len(edges) + 1)
    expected = DRAWS * np.diff([0.0, *stats.binom.cdf(edges, POPULATION, rate), 1.0])
    return float(stats.chisquare(found, expected).pvalue)


def test_both_add_noise_of_one_deviation(ours: Plan) -> None:
    jax_numpy = module("jax.numpy", JAX_PRIVACY)
    transform = theirs(ours, accountants()["pld"]).noise_addition_transform
    nothing = {"weight": jax_numpy.zeros(DRAWS)}
    noise, _ = transform.update(nothing, transform.init(nothing))
    spread = float(np.sum((np.asarray(noise["weight"], dtype=np.float64) / ours.noise_std) ** 2))
    assert ours.noise_std == NOISE * CLIP_NORM
    assert stats.chi2.ppf(1e-4, DRAWS) < spread < stats.chi2.ppf(1 - 1e-4, DRAWS)
