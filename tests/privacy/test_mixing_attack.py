"""The attack on released ModelMix: its process against plain loops, its error rates against exact ones."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binom, norm

from dpmix.privacy import mixing_attack
from dpmix.privacy.accounting import epsilon
from dpmix.privacy.mixing_attack import (
    MixedRun,
    _log_likelihood_ratios,
    _often_sampled,
    _variance_limit,
    attack,
    log_tail,
    simulate,
)
from dpmix.privacy.model_mix_accounting import MixedSteps, amplified_epsilon

DELTA = 1e-5
SHORT = MixedRun(MixedSteps(0.5, 0.2, steps=40, width=3.0, truncation=4), momentum=0.9)
# What the authors' accountant is given for ε = 8.
RELEASED = MixedSteps(0.335, 0.03, steps=3400, width=11.25, truncation=100)


def by_the_iterates(run: MixedRun, sampled: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """S and V from iterates that are kept and mixed as the released code does, in float64; η and noise are 1."""
    steps, coordinates = run.shape
    shape = (len(sampled), coordinates)
    before = np.zeros(shape)
    last = 8 * run.width * random.standard_normal(shape, dtype=np.float32).astype(float)
    momentum, moves, squares = np.zeros(shape), [], []
    for step in range(steps):
        noise = random.standard_normal(shape, dtype=np.float32)
        alpha = random.random(shape, dtype=np.float32)
        canary = sampled[:, step, None] / run.claimed.noise_multiplier / np.sqrt(coordinates)
        momentum = run.momentum * momentum + canary + noise
        apart = last - before
        alpha = np.where(apart < 0, 1 - alpha, alpha)  # as likely, and what the simulation takes
        push = np.sign(apart) * np.maximum(run.width - np.abs(apart), 0) / 2
        pushed, other = last + push, before - push
        now = alpha * pushed + (1 - alpha) * other - momentum
        moves.append((pushed + other) / 2 - now)
        squares.append((pushed - other) ** 2)
        before, last = last, now
    waited = mixing_attack._WAIT
    # What one unit of noise adds to S, by sending it through the buffer.
    counts = []
    for step in range(steps):
        buffer = np.zeros(steps)
        buffer[step:] = run.momentum ** np.arange(steps - step)
        counts.append((1 - run.momentum) * buffer[waited:].sum())
    statistic = (1 - run.momentum) * np.sum(moves[waited:], axis=(0, 2))
    mixing = (1 - run.momentum) ** 2 * np.sum(squares[waited:], axis=(0, 2)) / 12
    return statistic, coordinates * np.sum(np.square(counts)) + mixing


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_statistic_and_variance_are_those_of_the_iterates(momentum: float) -> None:
    run = replace(SHORT, momentum=momentum)
    sampled = np.random.default_rng(1).random((5, 40)) < 0.5
    expected = by_the_iterates(run, sampled, np.random.default_rng(2))
    found = simulate(run, sampled, np.random.default_rng(2))
    # Iterates of size 8 x 6 in float32, over 24 steps and 4 coordinates.
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    assert np.ptp(expected[0]) > 1


def test_without_the_canary_the_statistic_has_mean_zero_and_at_most_its_variance() -> None:
    absent = np.zeros((2000, 40), dtype=bool)
    statistic, variance = simulate(SHORT, absent, np.random.default_rng(3))
    scaled = statistic / variance**0.5
    # Of 2,000 standard normal values the mean is within 5 / √2000, and the variance within 5 √(2 / 2000).
    assert abs(scaled.mean()) < 0.112
    assert abs(scaled.var() - 1) < 0.159
    for distance in (1.0, 2.0, 3.0):
        allowed = np.exp(log_tail(distance))
        assert (scaled >= distance).mean() <= allowed + 5 * np.sqrt(allowed / len(scaled))
    # The limit is nearly never passed, and hardly above what is there.
    wide = replace(SHORT, claimed=SHORT.claimed._replace(width=20.0))
    _, variance = simulate(wide, absent[:200], np.random.default_rng(4))
    assert (variance <= _variance_limit(wide)).mean() > 0.95
    assert variance.min() > 0.99 * _variance_limit(wide)


@pytest.mark.parametrize("distance", [2.0, 4.0, 6.5, 8.0])
def test_the_tail_bound_is_the_least_of_its_form(distance: float) -> None:
    above = np.linspace(0, 12, 4001)

    def bound(a: float) -> float:
        moment = np.trapezoid(above**3 * norm.pdf(a + above), above)
        return float(np.log(moment) - 3 * np.log(distance - a))

    least = min(bound(a) for a in np.linspace(0.05, distance - 0.05, 400))
    assert log_tail(distance) == pytest.approx(least, abs=2e-3)
    assert norm.logsf(distance) < log_tail(distance) < norm.logsf(distance) + np.log(4.5)


def test_the_canary_is_sampled_as_often_as_poisson_sampling_does_in_the_highest_tenth() -> None:
    sampled, share = _often_sampled(SHORT, 4000, np.random.default_rng(5))
    counts = sampled.sum(axis=1)
    law = binom(40, 0.2)
    least = counts.min()
    assert share == pytest.approx(law.sf(least - 1))
    assert 0.1 < share < 0.2
    assert law.sf(least) <= 0.1
    for more in range(least + 1, least + 4):
        allowed = law.sf(more - 1) / share
        assert (counts >= more).mean() == pytest.approx(allowed, abs=5 * np.sqrt(allowed / 4000))
    # Any step is as likely as any other.
    assert sampled.mean(axis=0) == pytest.approx(np.full(40, sampled.mean()), abs=0.04)


def test_one_unmixed_step_with_every_record_is_a_gaussian() -> None:
    one = MixedRun(MixedSteps(2.0, 1 - 1e-12, steps=1, width=1.0, truncation=9), mixed=False)
    ratios = _log_likelihood_ratios(one, 40_000, np.random.default_rng(6))
    # N(1, σ²) against N(0, σ²): the logarithm of the ratio is N(1 / 2σ², 1 / σ²).
    assert ratios.mean() == pytest.approx(1 / 8, abs=5 * 0.5 / 200)
    assert ratios.std() == pytest.approx(1 / 2, rel=5 / np.sqrt(80_000))


@pytest.mark.parametrize("steps", [30, 100])
def test_of_unmixed_coordinates_the_bound_stays_below_the_accountants_epsilon(steps: int) -> None:
    run = MixedRun(MixedSteps(0.5, 0.2, steps, width=1.0, truncation=9), mixed=False)
    truth = epsilon("pld", noise_multiplier=0.5, sampling_rate=0.2, steps=steps, delta=DELTA)
    assert truth / 3 < attack(run, 2000, 7, DELTA, confidence=0.999).epsilon < truth


def test_the_released_code_breaks_what_is_claimed_and_algorithm_1_does_not() -> None:
    claimed = amplified_epsilon([RELEASED], delta=DELTA)
    assert claimed == pytest.approx(8, abs=1e-3)
    found = attack(MixedRun(RELEASED, momentum=0.9), 200, 8, DELTA)
    assert claimed + 1 < found.epsilon
    assert all(more >= fewer for more, fewer in pairwise(found.hits))
    assert len(found.hits) == len(found.log_false_positive_rates) > 1
    assert attack(MixedRun(RELEASED), 200, 8, DELTA).epsilon < claimed
    assert attack(MixedRun(RELEASED, mixed=False), 200, 8, DELTA).epsilon > 10 * claimed


def test_runs_that_mixed_over_more_than_was_allowed_for_count_as_misses() -> None:
    """Here noise alone drives iterates farther apart than the width, and the canary is plain to see."""
    narrow = MixedRun(MixedSteps(0.2, 0.9, steps=100, width=0.02, truncation=4), momentum=0.9)
    statistic, variance = simulate(narrow, np.ones((20, 100), dtype=bool), np.random.default_rng(9))
    assert (variance > _variance_limit(narrow)).all()
    assert (statistic > 8 * variance**0.5).all()
    assert sum(attack(narrow, 20, 9, DELTA).hits) == 0


def test_the_seed_decides() -> None:
    run = MixedRun(MixedSteps(0.5, 0.2, steps=100, width=1.0, truncation=9), mixed=False)
    first, again, other = (attack(run, 300, seed, DELTA) for seed in (1, 1, 2))
    assert first == again
    assert first.hits != other.hits
