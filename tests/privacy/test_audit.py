"""The audit's bounds on exact Gaussians, whose ε is known."""

import numpy as np
import pytest
from scipy.stats import norm

from dpmix.errors import DataError, ParamsError
from dpmix.privacy.accounting import epsilon
from dpmix.privacy.audit import METHODS, _bound_at, _from_rates, epsilon_from_hits, epsilon_lower_bound, gdp_epsilon
from dpmix.privacy.noise import SeededNoise
from tests.needs import JAX_PRIVACY, module

DELTA = 1e-5


def scores(mu: float, count: int, seed: int):
    random = np.random.default_rng(seed)
    return random.normal(mu, 1, count) * 7 + 3, random.normal(0, 1, count) * 7 + 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mu", [0.25, 1.0])
def test_bounds_hold_as_often_as_they_claim(method, mu):
    trials = 200
    truth = gdp_epsilon(mu, DELTA)
    passed = sum(
        epsilon_lower_bound(*scores(mu, 200, seed), DELTA, confidence=0.9, method=method, seed=seed) > truth
        for seed in range(trials)
    )
    # 10 % are allowed; 20 of 200, and six standard errors more would be 45.
    assert passed <= 30


@pytest.mark.parametrize(("method", "share"), [("threshold", 0.35), ("gdp", 0.85), ("mean", 0.95)])
def test_bounds_approach_the_truth_from_below(method, share):
    truth = gdp_epsilon(1.0, DELTA)
    found = [
        epsilon_lower_bound(*scores(1.0, count, 1), DELTA, confidence=0.999, method=method)
        for count in (30, 1000, 100_000)
    ]
    assert found == sorted(found)
    assert share * truth < found[-1] <= truth


@pytest.mark.parametrize("method", METHODS)
def test_nothing_leaks_from_nothing(method):
    assert epsilon_lower_bound(*scores(0.0, 2000, 4), DELTA, confidence=0.999, method=method) == 0


@pytest.mark.parametrize("method", METHODS)
def test_the_bound_needs_evidence(method):
    # Perfect separation of few scores: the rate limits of Clopper and Pearson cap what threshold and gdp may claim.
    few = epsilon_lower_bound(np.arange(10) + 100.0, np.arange(10.0), DELTA, method=method)
    many = epsilon_lower_bound(np.arange(1000) + 10_000.0, np.arange(1000.0), DELTA, method=method)
    assert few < many


def test_a_known_gaussian_mechanism():
    # μ = 1/σ without sampling, against the accountant rather than the formula.
    truth = epsilon("pld", noise_multiplier=1.25, sampling_rate=1.0, steps=1, delta=DELTA)
    assert gdp_epsilon(1 / 1.25, DELTA) == pytest.approx(truth, rel=1e-3)
    assert gdp_epsilon(0, DELTA) == gdp_epsilon(-1, DELTA) == 0


def test_white_box_canary_on_the_noisy_sum():
    # A canary gradient of norm C orthogonal to the rest, sensitivity C, one full-batch step: μ = 1/σ exactly.
    import torch

    sigma, clip_norm, count = 1.5, 0.7, 4000
    canary = torch.zeros(8)
    canary[3] = clip_norm
    rest = torch.linspace(-1, 1, 8)
    rest[3] = 0

    def attack(with_canary: bool, std: float) -> np.ndarray:
        total = rest + canary * with_canary
        noise = SeededNoise(int(with_canary))
        noisy = torch.stack([noise.add(total, std, step=step, name="weight") for step in range(count)])
        return (noisy @ canary).numpy()

    truth = gdp_epsilon(1 / sigma, DELTA)
    found = epsilon_lower_bound(attack(True, sigma * clip_norm), attack(False, sigma * clip_norm), DELTA, method="mean")
    assert 0.9 * truth < found <= truth
    # The mutation "noise of half the size" is caught by every method that sees it.
    half = attack(True, sigma * clip_norm / 2), attack(False, sigma * clip_norm / 2)
    assert epsilon_lower_bound(*half, DELTA, method="mean") > truth
    assert epsilon_lower_bound(*half, DELTA, method="gdp") > truth


@pytest.mark.slow
def test_the_threshold_method_agrees_with_jax_privacy():
    auditing = module("jax_privacy.auditing", JAX_PRIVACY)
    inside, outside = scores(1.0, 500, 2)
    auditor = auditing.CanaryScoreAuditor(inside, outside)
    for threshold in (0.0, 5.0, 10.0):
        theirs = auditor.epsilon_clopper_pearson(
            0.05, DELTA, one_sided=False, threshold_strategy=auditing.Explicit(threshold)
        )
        ours = _bound_at(np.array([threshold]), inside, outside, 0.05, lambda p, n: _from_rates(p, n, DELTA))
        assert max(0.0, ours[0]) == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_counted_hits_against_known_tails_bound_a_gaussian() -> None:
    """A Gaussian mechanism of μ = 6, whose ε no count of false positives could show with 400 runs."""
    mu, runs, trials = 6.0, 400, 300
    thresholds = np.arange(6.0, 9.0, 0.5)
    tails = norm.logsf(thresholds)
    truth = gdp_epsilon(mu, DELTA)
    scores = np.random.default_rng(0).normal(mu, 1, (trials, runs))
    hits = (scores[:, :, None] >= thresholds).sum(axis=1)
    found = [epsilon_from_hits(some, runs, tails, DELTA, confidence=0.9) for some in hits]
    assert 0.6 * truth < min(found)
    assert sum(one > truth for one in found) <= 0.1 * trials
    # Clopper and Pearson's limit after hits in every run is the α-th power; here α is shared by two tests.
    assert epsilon_from_hits([400, 0], 400, [-20.0, -90.0], DELTA) == pytest.approx(
        20 + np.log(0.025 ** (1 / 400) - DELTA)
    )
    assert epsilon_from_hits([0], 400, [-90.0], DELTA) == 0
    # A tenth of what can happen: the rest is missed. And a rate below δ shows nothing.
    whole = epsilon_from_hits([400], 400, [-20.0], 1e-12)
    assert epsilon_from_hits([400], 400, [-20.0], 1e-12, share=0.1) == pytest.approx(whole - np.log(10))
    assert epsilon_from_hits([400], 400, [-20.0], DELTA, share=0.9e-5) == 0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"method": "best"}, ParamsError, "there are threshold"),
        ({"method": "treshold"}, ParamsError, "did you mean 'threshold'"),
        ({"delta": 0}, ParamsError, "delta"),
        ({"confidence": 1}, ParamsError, "confidence"),
        ({"scores_in": [1.0, 2.0]}, DataError, "too few"),
        ({"scores_out": [1.0, 2.0, 3.0, float("nan")]}, DataError, "not finite"),
        ({"scores_in": [1.0] * 5, "scores_out": [0.0] * 5, "method": "mean"}, DataError, "do not vary"),
    ],
)
def test_bad_requests(arguments, error, words):
    inside, outside = scores(1.0, 10, 0)
    with pytest.raises(error, match=words):
        epsilon_lower_bound(**{"scores_in": inside, "scores_out": outside, "delta": DELTA, **arguments})
