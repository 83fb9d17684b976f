"""The learning rate follows from public numbers by the laws that the module derives."""

from dataclasses import replace

import pytest

from dpmix.errors import ParamsError
from dpmix.own.learning_rate import PER_CLASS, learning_rate
from dpmix.own.recipe import recipe
from dpmix.privacy.plan import Plan

# Noise limits it, and nothing is forgotten, as d is large.
PLAN = Plan(5000, batch_size=500, steps=36, clip_norm=1.0, noise_multiplier=8.0, delta=1e-5)


def rate(plan: Plan, *, views: int = 4, classes: int = 10, dimension: int = 1280) -> float:
    return learning_rate(plan, views=views, classes=classes, dimension=dimension)


def test_noise_of_all_steps_moves_the_weights_by_c() -> None:
    usual = rate(PLAN)
    assert rate(replace(PLAN, noise_multiplier=16.0)) == pytest.approx(usual / 2)
    assert rate(replace(PLAN, steps=4 * 36)) == pytest.approx(usual / 2)
    assert rate(replace(PLAN, batch_size=1000)) == pytest.approx(2 * usual)
    assert rate(PLAN, dimension=5000) == usual


def test_what_counts_is_the_noise_that_is_added() -> None:
    pairs = replace(PLAN, microbatch_size=2)
    assert pairs.noise_std == 2 * PLAN.noise_std
    assert rate(pairs) == pytest.approx(rate(PLAN) / 4)


def test_few_features_forget_noise() -> None:
    assert rate(PLAN, dimension=16) == pytest.approx(2 * rate(PLAN, dimension=32))
    assert rate(PLAN, dimension=16) > rate(PLAN)
    # Both forms agree where as many steps are forgotten as there are.
    between = rate(PLAN) * 2 * PLAN.steps / 10
    assert rate(PLAN, dimension=round(between) + 1) == pytest.approx(rate(PLAN))


@pytest.mark.parametrize("noise_multiplier", [0.0, 1e-6, 1.0, 8.0])
def test_it_is_in_units_of_one_over_c(noise_multiplier: float) -> None:
    plan = replace(PLAN, noise_multiplier=noise_multiplier)
    assert rate(replace(plan, clip_norm=0.25)) == pytest.approx(4 * rate(plan))


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_without_noise_curvature_bounds_it(classes: int) -> None:
    for noise_multiplier in (0.0, 1e-3):
        assert rate(replace(PLAN, noise_multiplier=noise_multiplier), classes=classes) == PER_CLASS * classes


@pytest.mark.parametrize("dimension", [32, 512, 1280])
def test_more_noise_never_raises_it(dimension: int) -> None:
    noises = [0.0, *(2.0**power for power in range(-6, 12))]
    rates = [rate(replace(PLAN, noise_multiplier=noise), dimension=dimension) for noise in noises]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 100 * rates[-1]


def test_a_larger_epsilon_never_lowers_it() -> None:
    usual = recipe(1_000, 10, 1.0)
    rates = [
        rate(
            Plan.calibrated(
                population=1_000, batch_size=usual.batch_size, epochs=usual.epochs, clip_norm=usual.clip_norm,
                epsilon=epsilon, delta=usual.delta,
            )
        )
        for epsilon in (1, 2, 4, 8)
    ]  # fmt: skip
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]


@pytest.mark.parametrize("wrong", [{"views": 0}, {"classes": 1}, {"dimension": 0}])
def test_what_no_head_has_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ParamsError, match="is below"):
        rate(PLAN, **wrong)
