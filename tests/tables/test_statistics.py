"""Statistics of seeds, beside numpy and scipy."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dpmix.tables import statistics as module
from dpmix.tables.statistics import mean, mean_interval, median, paired_difference, pooled_sd, sample_sd

FIRST, SECOND = (80.0, 83.0, 84.5), (79.0, 79.5, 86.0, 88.0)
samples = st.lists(st.floats(0, 100), min_size=2, max_size=9)


def test_examples() -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted >= 8) == (0, True)


@given(samples)
def test_centres_and_spread_are_numpys(values: list[float]) -> None:
    assert mean(values) == pytest.approx(np.mean(values), rel=1e-12)
    assert median(values) == np.median(values)
    assert sample_sd(values) == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-12)


def test_what_too_few_values_do_not_have_is_none() -> None:
    assert mean(()) is median(()) is sample_sd(()) is sample_sd((3.0,)) is None
    assert mean((3.0,)) == median((3.0,)) == 3.0


def test_the_pooled_standard_deviation_is_that_of_a_two_sample_t_test() -> None:
    sd = pooled_sd(FIRST, SECOND)
    assert sd is not None
    t = (np.mean(FIRST) - np.mean(SECOND)) / (sd * (1 / 3 + 1 / 4) ** 0.5)
    assert t == pytest.approx(stats.ttest_ind(FIRST, SECOND).statistic, rel=1e-12)
    # One seed adds nothing to it, and two such cells have none.
    assert pooled_sd(FIRST, (81.0,)) == pytest.approx(np.std(FIRST, ddof=1))
    assert pooled_sd((80.0,), (81.0,)) is None


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_an_interval_of_a_mean_is_students(confidence: float) -> None:
    found = mean_interval(SECOND, confidence)
    expected = stats.ttest_1samp(SECOND, 0.0).confidence_interval(confidence)
    assert found.estimate == np.mean(SECOND)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-12)
    same = mean_interval((5.0, 5.0, 5.0), confidence)
    assert (same.estimate, same.low, same.high) == (5.0, 5.0, 5.0)


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    """Of 2000 samples 80 % ± 4 %; another seed would fail here once in 100 000 times."""
    drawn = np.random.default_rng(0).normal(7.0, 2.0, size=(2000, 3))
    intervals = [mean_interval(tuple(row), 0.8) for row in drawn]
    assert sum(one.low < 7.0 < one.high for one in intervals) / 2000 == pytest.approx(0.8, abs=0.04)


def test_paired_differences_are_seed_by_seed() -> None:
    other = (79.0, 79.5, 86.0)
    found = paired_difference(FIRST, other)
    expected = stats.ttest_rel(FIRST, other).confidence_interval(0.95)
    assert found.estimate == pytest.approx(np.mean(FIRST) - np.mean(other), rel=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-12)
    assert found.excludes_zero == (stats.ttest_rel(FIRST, other).pvalue < 0.05)
    # What a seed gives both sides falls out.
    shift = (5.0, -30.0, 11.0)
    moved = [tuple(np.add(values, shift)) for values in (FIRST, other)]
    assert paired_difference(*moved).low == pytest.approx(found.low, abs=1e-9)


@pytest.mark.parametrize(("values", "zero_outside"), [((1.0, 1.1, 0.9), True), ((-1.0, -1.1, -0.9), True),
                                                      ((1.0, -1.0, 0.5), False)])  # fmt: skip
def test_whether_an_interval_excludes_zero(values: tuple[float, ...], zero_outside: bool) -> None:
    assert mean_interval(values).excludes_zero == zero_outside


def test_an_interval_needs_two_values_and_pairs() -> None:
    with pytest.raises(ValueError, match="two values or more, not 1"):
        mean_interval((1.0,))
    with pytest.raises(ValueError, match="of the same seeds, not of 3 and 4"):
        paired_difference(FIRST, SECOND)
