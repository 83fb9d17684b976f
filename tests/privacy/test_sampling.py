import numpy as np
import pytest
from scipy import stats

from dpmix.errors import ParamsError
from dpmix.privacy.sampling import microbatches, poisson_sample, secure_poisson_sample

SAMPLERS = [
    pytest.param(lambda step, n, rate: poisson_sample(3, step, n, rate), id="research"),
    pytest.param(lambda step, n, rate: secure_poisson_sample(n, rate), id="release"),
]


@pytest.mark.parametrize("sample", SAMPLERS)
@pytest.mark.parametrize("rate", [4096 / 50000, 1000 / 3680, 0.9])
def test_sizes_are_binomial_at_exactly_the_rate(sample, rate):
    n, steps = 400, 2000
    sizes = np.array([len(sample(step, n, rate)) for step in range(steps)])
    # Six standard errors: a random failure once in 10⁹, and q = 1/len(loader) is far outside.
    assert abs(sizes.mean() - n * rate) < 6 * np.sqrt(n * rate * (1 - rate) / steps)
    assert sizes.var() == pytest.approx(n * rate * (1 - rate), rel=6 * np.sqrt(2 / steps))


@pytest.mark.parametrize("sample", SAMPLERS)
def test_units_are_independent_and_alike(sample):
    n, steps, rate = 40, 4000, 0.2
    taken = np.zeros((steps, n))
    for step in range(steps):
        taken[step, sample(step, n, rate)] = 1
    assert stats.chisquare(taken.sum(axis=0)).pvalue > 1e-6
    # Neither two units at one step nor one unit at two steps.
    between = np.corrcoef(taken.T)[~np.eye(n, dtype=bool)]
    assert np.abs(between).max() < 6.5 / np.sqrt(steps)
    assert abs(np.corrcoef(taken[1:].ravel(), taken[:-1].ravel())[0, 1]) < 6 / np.sqrt(steps * n)


@pytest.mark.parametrize("sample", SAMPLERS)
def test_each_unit_at_most_once(sample):
    chosen = sample(0, 5000, 0.3)
    assert chosen.dtype == np.int64
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < 5000


@pytest.mark.parametrize("sample", SAMPLERS)
def test_extreme_rates(sample):
    assert len(sample(0, 100, 0.0)) == 0
    assert list(sample(0, 100, 1.0)) == list(range(100))


def test_research_sampling_is_keyed():
    again = poisson_sample(3, 7, 1000, 0.1)
    assert np.array_equal(again, poisson_sample(3, 7, 1000, 0.1))
    assert not np.array_equal(again, poisson_sample(3, 8, 1000, 0.1))
    assert not np.array_equal(again, poisson_sample(4, 7, 1000, 0.1))


def test_a_unit_more_changes_no_other():
    assert np.array_equal(poisson_sample(3, 7, 999, 0.1), [i for i in poisson_sample(3, 7, 1000, 0.1) if i < 999])


def test_release_sampling_never_repeats():
    assert not np.array_equal(secure_poisson_sample(1000, 0.5), secure_poisson_sample(1000, 0.5))


@pytest.mark.parametrize(("population", "size"), [(10, 2), (11, 2), (1, 2), (7, 3), (5, 1)])
def test_microbatches_hold_everybody_once(population, size):
    units = microbatches(population, size, seed=5)
    assert units.shape == (-(-population // size), size)
    assert sorted(units[units >= 0]) == list(range(population))
    assert (units == -1).sum() == units.size - population
    assert (units[:-1] >= 0).all()


def test_microbatches_are_fixed_and_mixed():
    units = microbatches(1000, 2, seed=5)
    assert np.array_equal(units, microbatches(1000, 2, seed=5))
    assert not np.array_equal(units, microbatches(1000, 2, seed=6))
    assert abs(np.corrcoef(units[:, 0], units[:, 1])[0, 1]) < 0.3
    assert abs(np.corrcoef(units.ravel(), np.arange(1000))[0, 1]) < 0.2


def test_bad_requests():
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(ParamsError, match="sampling rate"):
            poisson_sample(0, 0, 10, rate)
        with pytest.raises(ParamsError, match="sampling rate"):
            secure_poisson_sample(10, rate)
    with pytest.raises(ParamsError, match="population"):
        poisson_sample(0, 0, 0, 0.5)
    with pytest.raises(ParamsError, match="microbatches of 0"):
        microbatches(10, 0, seed=1)
