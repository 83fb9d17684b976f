"""Each step samples from its own part of the records, at the rate that is accounted."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dpmix.privacy.banded_plan import BandedPlan
from dpmix.privacy.cyclic_sampling import cyclic_part, cyclic_poisson_sample, secure_cyclic_poisson_sample
from dpmix.privacy.matrix_factorization import strategy
from dpmix.privacy.sampling import poisson_sample
from tests.privacy.bands import DELTA


@given(st.integers(1, 300), st.integers(1, 12), st.integers(0, 99), st.data())
@settings(max_examples=60)
def test_parts_are_fixed_disjoint_and_even(population, bands, seed, data):
    bands = min(bands, population)
    batch_size = data.draw(st.integers(1, population // bands))
    parts = [cyclic_part(step, population, batch_size, bands) for step in range(bands)]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(population))
    assert {len(part) for part in parts} <= {population // bands, -(-population // bands)}
    step = data.draw(st.integers(0, 10_000))
    assert np.array_equal(cyclic_part(step, population, batch_size, bands), parts[step % bands])
    for chosen in (
        cyclic_poisson_sample(seed, step, population, batch_size, bands),
        secure_cyclic_poisson_sample(step, population, batch_size, bands),
    ):
        assert np.isin(chosen, parts[step % bands]).all()
        assert (np.diff(chosen) > 0).all()
        assert batch_size * bands < population or len(chosen) == population // bands


def test_every_record_has_its_turns_at_the_exact_rate():
    population, batch_size, bands, steps = 61, 9, 4, 2000
    plan = BandedPlan(population, batch_size, steps, 1.0, 1.0, DELTA, coefficients=strategy(bands, steps))
    taken = np.zeros((steps, population), bool)
    for step in range(steps):
        taken[step, cyclic_poisson_sample(3, step, population, batch_size, bands)] = True
    assert plan.part_rate == 36 / 61
    for record in range(population):
        at = np.flatnonzero(taken[:, record])
        assert len(set(at % bands)) == 1
        assert len(at) <= plan.participations
    rates = taken.reshape(-1, bands, population).any(axis=1).mean(axis=0)
    deviation = math.sqrt(plan.part_rate * (1 - plan.part_rate) / plan.participations)
    assert np.abs(rates - plan.part_rate).max() < 5 * deviation
    # A batch has B records in the mean over a cycle, and records are taken independently.
    assert abs(taken.sum(axis=1).mean() - batch_size) < 0.2
    other = np.corrcoef(taken.reshape(-1, bands, population).any(axis=1).T)[~np.eye(population, dtype=bool)]
    assert np.abs(other).max() < 6 / math.sqrt(steps / bands)


def test_secure_samples_are_at_the_rate_and_never_the_same():
    samples = [secure_cyclic_poisson_sample(1, 1000, 100, 4) for _ in range(200)]
    assert abs(sum(map(len, samples)) / (200 * 250) - 0.4) < 0.02
    assert len({sample.tobytes() for sample in samples}) == 200


@given(st.integers(1, 200), st.integers(0, 50), st.data())
def test_one_band_samples_as_ever(population, step, data):
    batch_size = data.draw(st.integers(1, population))
    expected = poisson_sample(4, step, population, batch_size / population)
    assert np.array_equal(cyclic_poisson_sample(4, step, population, batch_size), expected)
