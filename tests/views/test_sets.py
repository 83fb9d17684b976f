"""With R sets of views an example shows R different sets in all, each as often as any other, whoever else is there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpmix.views.sets import encoded_ahead, sets_shown, share_encoded, share_shown, view_random


@given(st.integers(1, 9), st.integers(0, 2**32 - 1), st.integers(0, 1000))
def test_the_views_of_a_set_are_those_of_seed_set_and_example(view_sets: int, seed: int, step: int) -> None:
    units = np.array([4, 0, 17])
    sets = sets_shown(seed, step, units, view_sets)
    drawn = view_random(seed, step, units, view_sets)
    assert sets.shape == (3,)
    for row, (unit, number) in enumerate(zip(units, sets, strict=True)):
        # One step that draws anew, numbered like the set, has the same key.
        alone = view_random(seed, int(number), np.array([unit]), 0)
        assert np.array_equal(drawn.uniform("crop", 3)[row], alone.uniform("crop", 3)[0])
        assert np.array_equal(drawn.beta("lambda", 0.2, 2)[row], alone.beta("lambda", 0.2, 2)[0])


def test_all_sets_are_shown_equally_often_and_independently() -> None:
    units, view_sets, steps = np.arange(400), 5, 60
    shown = np.stack([sets_shown(1, step, units, view_sets) for step in range(steps)])
    counts = np.bincount(shown.reshape(-1), minlength=view_sets)
    assert len(counts) == view_sets
    assert (abs(counts - shown.size / view_sets) < 5 * np.sqrt(shown.size / view_sets)).all()
    # Neither an example's sets nor a step's go with another's.
    for one, other in ((shown[0], shown[1]), (shown[:, 0], shown[:, 1])):
        assert abs(np.mean(one == other) - 1 / view_sets) < 5 * np.sqrt(1 / view_sets / len(one))


def test_what_is_drawn_anew_is_no_set() -> None:
    first, second = (view_random(3, step, np.array([8]), 0).uniform("crop", 4) for step in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("rate", "steps", "view_sets"), [(0.25, 100, 1), (0.3, 12, 3), (0.05, 10, 2)])
def test_the_share_of_sets_that_a_run_shows(rate: float, steps: int, view_sets: int) -> None:
    units, random = np.arange(3000), np.random.default_rng(0)
    seen = np.zeros((len(units), view_sets), dtype=bool)
    for step in range(steps):
        sampled = units[random.random(len(units)) < rate]
        seen[sampled, sets_shown(0, step, sampled, view_sets)] = True
    expected = share_shown(rate, steps, view_sets)
    assert abs(seen.mean() - expected) < 0.02
    ahead = expected >= 0.9
    assert encoded_ahead(rate, steps, view_sets) == ahead
    assert share_encoded(rate, steps, view_sets) == (1.0 if ahead else expected)
