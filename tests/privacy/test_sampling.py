import math
import os
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from dpmix.errors import ParamsError
from dpmix.privacy.sampling import PoissonSampler, microbatches, poisson_sample, secure_poisson_sample
from dpmix.random import KeyedRandom

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


@pytest.mark.parametrize("rate", [4096 / 50000, 1000 / 3680, 0.9, 0.5, 1 / 3, 2.0**-30, 1e-12, 0.0, 1.0])
def test_a_unit_is_taken_if_its_53_bits_are_below_the_rate_to_the_last_of_them(rate, monkeypatch):
    """Each unit's random word is given here: those at the threshold, beside it, and as far as 1/256 from it."""
    exact = math.floor(Fraction(rate) * 2**53)
    apart = [0, *(sign * 2**bits for sign in (-1, 1) for bits in (0, 1, 8, 20, 40, 44, 45))]
    bits = sorted({min(max(exact + off, 0), 2**53 - 1) for off in apart})
    # The eleven bits that are left over, at either end.
    words = np.array([(one << 11) + rest for one in bits for rest in (0, 2**11 - 1)], dtype=np.uint64)
    expected = [index for index, one in enumerate(np.repeat(np.array(bits, dtype=object), 2)) if one < exact]
    assert bool(expected) == (rate > 0)
    assert len(expected) < len(words) or rate == 1

    monkeypatch.setattr(os, "urandom", lambda count: words.tobytes()[:count])
    assert secure_poisson_sample(len(words), rate).tolist() == expected
    halves = np.stack([words >> np.uint64(32), words & np.uint64(2**32 - 1)], axis=1)
    monkeypatch.setattr(KeyedRandom, "words", lambda self, stream, *shape: halves[self.examples.astype(np.int64)])
    assert poisson_sample(3, 0, len(words), rate).tolist() == expected
    for seed in (None, 3):
        sample = PoissonSampler(len(words), rate, seed).sample(0)
        assert sample.units.tolist() == expected
        assert Fraction(sample.rate) == Fraction(exact, 2**53)
        assert sample.rate <= rate


def test_the_operating_system_is_asked_for_every_units_own_word(monkeypatch):
    asked = []
    entropy = os.urandom
    monkeypatch.setattr(os, "urandom", lambda count: asked.append(count) or entropy(count))
    secure_poisson_sample(77, 0.5)
    assert asked == [8 * 77]
