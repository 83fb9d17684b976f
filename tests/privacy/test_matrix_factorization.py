"""The strategies of banded noise: how strong they are, and what a record's turns can move under them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpmix.privacy.matrix_factorization import prefix_rmse, strategy
from tests.needs import JAX_PRIVACY, module
from tests.privacy.bands import KINDS, matrix


def test_the_truncated_square_root():
    expected = np.array([1, 1 / 2, 3 / 8, 5 / 16])
    assert strategy(4, 9, "sqrt") == pytest.approx(expected / np.linalg.norm(expected), rel=1e-14)
    # With every band it is the square root of the prefix sums.
    root = matrix(strategy(9, 9, "sqrt"), 9)
    assert root @ root / root[0, 0] ** 2 == pytest.approx(np.tril(np.ones((9, 9))))
    assert strategy(1, 5) == strategy(1, 5, "sqrt") == (1.0,)


@pytest.mark.parametrize(("bands", "steps"), [(1, 7), (2, 2), (4, 31), (31, 31)])
def test_rmse_of_prefix_sums(bands, steps):
    column = strategy(bands, steps)
    factor = np.tril(np.ones((steps, steps))) @ np.linalg.inv(matrix(column, steps))
    assert prefix_rmse(column, steps) == pytest.approx(math.sqrt((factor**2).sum() / steps))
    assert prefix_rmse((1.0,), steps) == pytest.approx(math.sqrt((steps + 1) / 2))


@given(st.integers(2, 40), st.integers(0, 500))
@settings(max_examples=40)
def test_the_optimal_strategy(bands, more):
    steps = bands + more
    found, root = strategy(bands, steps), strategy(bands, steps, "sqrt")
    assert len(found) == bands
    assert math.hypot(*found) == pytest.approx(1, abs=1e-14)
    # Falling and positive: then all roots of the series lie outside the unit circle, and y = C⁻¹ z never grows.
    assert all(0 <= later <= earlier for earlier, later in itertools.pairwise(found))
    best = prefix_rmse(found, steps)
    assert best <= prefix_rmse(root, steps) + 1e-12
    for place in range(bands):
        moved = np.array(found)
        moved[place] *= 1.01
        assert prefix_rmse(moved / np.linalg.norm(moved), steps) >= best * (1 - 1e-6)


@pytest.mark.slow
def test_strategies_agree_with_jax_privacy():
    factorization = module("jax_privacy.matrix_factorization.toeplitz", JAX_PRIVACY)
    bands, steps = 8, 240
    theirs = np.asarray(factorization.optimize_banded_toeplitz(n=steps, bands=bands), dtype=float)
    assert np.allclose(strategy(bands, steps), theirs, atol=2e-3)
    assert prefix_rmse(strategy(bands, steps), steps) <= prefix_rmse(theirs, steps) * (1 + 1e-6)
    error = math.sqrt(float(factorization.loss(np.asarray(theirs), steps)))
    assert prefix_rmse(theirs / np.linalg.norm(theirs), steps) == pytest.approx(error, rel=1e-4)
    squared = factorization.minsep_sensitivity_squared(np.asarray(strategy(bands, steps)), min_sep=bands, n=steps)
    assert float(squared) == pytest.approx(-(-steps // bands), rel=1e-3)


@st.composite
def turns(draw, smallest_gap: int):
    steps = draw(st.integers(1, 40))
    chosen, step = [], draw(st.integers(0, 3))
    while step < steps:
        chosen.append(step)
        step += smallest_gap + draw(st.integers(0, 4))
    return steps, chosen


@given(st.data(), st.integers(1, 8), st.sampled_from(KINDS))
@settings(max_examples=150)
def test_each_turn_moves_the_encoded_sums_by_at_most_the_clip_norm(data, bands, kind):
    steps, chosen = data.draw(turns(bands))
    encoder = matrix(strategy(bands, max(steps, bands), kind), steps)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    gradients = random.normal(size=(steps, 3))
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    blocks = [encoder[:, [step]] * gradients[step] for step in chosen]
    for block in blocks:
        assert np.linalg.norm(block) <= 1 + 1e-12
    # No row belongs to two turns, so each turn is a mechanism of its own.
    assert (sum((block != 0).any(axis=1).astype(int) for block in blocks) <= 1).all() if blocks else True
    assert np.linalg.norm(sum(blocks)) ** 2 <= len(chosen) + 1e-9 if blocks else True


@pytest.mark.parametrize("kind", KINDS)
def test_turns_closer_than_the_bands_would_cost_more(kind):
    encoder = matrix(strategy(4, 20, kind), 20)
    assert np.linalg.norm(encoder[:, ::4].sum(axis=1)) ** 2 <= 5 * (1 + 1e-14)
    assert np.linalg.norm(encoder[:, ::3].sum(axis=1)) ** 2 > 7 * 1.1
