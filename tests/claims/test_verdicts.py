import math

import numpy as np
import pytest
from scipy import stats

from dpmix.claims.verdicts import (
    MOST_SEEDS,
    POWER,
    Bounds,
    Estimate,
    bounds,
    of_claim,
    of_part,
    power,
    seeds_needed,
)
from dpmix.tables.statistics import mean_interval

ABOVE, WITHIN = Bounds(0.0), Bounds(-0.5, 0.5)
T2 = 4.302652729911275  # the 97.5 % quantile of Student's t with two degrees of freedom, from a table


def test_what_each_expectation_allows() -> None:
    assert bounds("greater") == bounds("falling") == bounds("same-epsilon") == Bounds(0.0, math.inf)
    assert bounds("not-less", 0.5) == Bounds(-0.5, math.inf)
    assert bounds("equal", 0.5) == WITHIN


def test_an_estimates_interval_is_that_of_the_mean_and_rounding_widens_it() -> None:
    values = [80.0, 81.0, 83.5]
    expected = mean_interval(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(3)
    found = Estimate(expected.estimate, error, 2).interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    wider = Estimate(expected.estimate, error, 2, rounding=0.1).interval()
    assert (wider.low, wider.high) == pytest.approx((expected.low - 0.1, expected.high + 0.1))


@pytest.mark.parametrize(
    ("value", "allowed", "verdict"),
    [
        (T2 * 1.01, ABOVE, "supported"),
        (T2 * 0.99, ABOVE, "undecided"),
        (-T2 * 0.99, ABOVE, "undecided"),
        (-T2 * 1.01, ABOVE, "contradicted"),
        (T2 * 1.01 - 3, Bounds(-3.0), "supported"),
        (T2 * 0.99 - 3, Bounds(-3.0), "undecided"),
        (-T2 * 1.01 - 3, Bounds(-3.0), "contradicted"),
        (0.0, Bounds(-T2 * 1.01, T2 * 1.01), "supported"),
        (0.5, Bounds(-T2 * 1.01, T2 * 1.01), "undecided"),
        (9.0, Bounds(-4.0, 4.0), "contradicted"),
        (-9.0, Bounds(-4.0, 4.0), "contradicted"),
        (8.0, Bounds(-4.0, 4.0), "undecided"),
    ],
)
def test_a_verdict_is_where_the_interval_lies(value: float, allowed: Bounds, verdict: str) -> None:
    assert of_part(Estimate(value, 1.0, 2), allowed) == verdict


def test_of_several_parts_each_must_be_contradicted_more_firmly() -> None:
    wide = float(stats.t.ppf(1 - 0.025 / 4, 2))  # Bonferroni over four
    for distance, alone, of_four in (
        (T2 * 1.01, "contradicted", "undecided"), (wide * 1.01, "contradicted", "contradicted")
    ):  # fmt: skip
        assert of_part(Estimate(-distance, 1.0, 2), ABOVE) == alone
        assert of_part(Estimate(-distance, 1.0, 2), ABOVE, parts=4) == of_four
    # But to be supported, no more firmly than by itself.
    assert of_part(Estimate(T2 * 1.01, 1.0, 2), ABOVE, parts=4) == "supported"


def test_values_that_do_not_vary_decide_nothing() -> None:
    assert of_part(Estimate(2.0, 0.0, 2), ABOVE) == "undecided"
    assert of_part(Estimate(-2.0, 0.0, 2), ABOVE) == "undecided"


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        (["supported"] * 3, "supported"),
        (["supported", "undecided"], "undecided"),
        (["supported", "undecided", "contradicted"], "contradicted"),
        (["undecided"], "undecided"),
        ([], "undecided"),
    ],
)
def test_every_part_must_hold(parts: list, verdict: str) -> None:
    assert of_claim(parts) == verdict


# Seeds that would decide ----------------------------------------------------------------------------------------------


def decided(seeds: int, difference: float, sd: float, allowed: Bounds, draws: int = 40_000) -> float:
    """How often an interval over so many seeds lies on the side of the bounds where the mean is; by drawing them."""
    values = np.random.default_rng(seeds).normal(difference, sd, (draws, seeds))
    half = stats.t.ppf(0.975, seeds - 1) * values.std(axis=1, ddof=1) / math.sqrt(seeds)
    low, high = values.mean(axis=1) - half, values.mean(axis=1) + half
    if allowed.low < difference < allowed.high:
        return float(np.mean((low > allowed.low) & (high < allowed.high)))
    return float(np.mean(high < allowed.low) if difference <= allowed.low else np.mean(low > allowed.high))


@pytest.mark.parametrize(
    ("seeds", "difference", "sd", "allowed"),
    [(3, 1.0, 0.5, ABOVE), (6, 0.5, 0.8, ABOVE), (12, -0.4, 1.0, ABOVE), (20, -0.2, 0.4, Bounds(-0.5)),
     (9, -0.9, 0.4, WITHIN), (9, 0.9, 0.4, WITHIN)],
)  # fmt: skip
def test_power_is_how_often_seeds_decide(seeds: int, difference: float, sd: float, allowed: Bounds) -> None:
    # Four standard errors of a share of 40,000.
    assert power(seeds, difference, sd, allowed) == pytest.approx(decided(seeds, difference, sd, allowed), abs=0.01)


def test_within_two_bounds_it_is_never_too_much() -> None:
    for seeds in (3, 8, 20, 60):
        drawn = decided(seeds, 0.1, 0.5, WITHIN)
        assert drawn - 0.2 < power(seeds, 0.1, 0.5, WITHIN) < drawn + 0.01
    assert power(60, 0.1, 0.5, WITHIN) > 0.99


def test_two_seeds_in_closed_form() -> None:
    """With a huge effect all samples decide; with none, one in forty on this side."""
    assert power(2, 1000.0, 0.1, ABOVE) == 1.0
    assert power(5, 1e-12, 1.0, ABOVE) == pytest.approx(0.025, abs=1e-6)


@pytest.mark.parametrize(
    ("difference", "sd", "allowed"),
    [
        (0.7, 1.0, ABOVE),
        (-0.7, 1.0, ABOVE),
        (0.2, 1.0, ABOVE),
        (3.0, 1.0, ABOVE),
        (0.1, 0.5, WITHIN),
        (-1, 0.6, WITHIN),
    ],
)
def test_the_seeds_needed_are_the_first_with_enough_power(difference: float, sd: float, allowed: Bounds) -> None:
    powers = {n: power(n, difference, sd, allowed) for n in range(2, MOST_SEEDS + 1)}
    first = next(n for n, reached in powers.items() if reached >= POWER)
    assert seeds_needed(difference, sd, allowed) == first
    assert decided(first, difference, sd, allowed) >= POWER - 0.01
    if first > 3 and allowed is ABOVE:
        assert decided(first - 2, difference, sd, allowed) < POWER


def test_a_textbook_number_of_seeds() -> None:
    """A one-sample t-test at 0.05, two-sided, with power 0.8 and effects of 1, 0.5 and 0.2 standard deviations."""
    assert [seeds_needed(effect, 1.0, ABOVE) for effect in (1.0, 0.5, 0.2)] == [10, 34, 199]


def test_more_seeds_than_anyone_runs_are_said_to_be_so() -> None:
    assert seeds_needed(0.01, 1.0, ABOVE) is None
    assert seeds_needed(0.0, 1.0, ABOVE) is None
    assert seeds_needed(0.0, 0.0, ABOVE) is None
    assert seeds_needed(0.1, 0.0, ABOVE) == 2


def test_a_stricter_interval_needs_more() -> None:
    assert seeds_needed(-1.0, 1.0, ABOVE, confidence=0.9875) > seeds_needed(-1.0, 1.0, ABOVE)
