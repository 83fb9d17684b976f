"""The design's rules of correctness, end to end: each check trains, with real views, sampling and plans."""

import numpy as np
import pytest

from dpmix.random import KeyedRandom
from dpmix.views.mixing import make_views
from dpmix.views.settings import ViewSettings
from tests.privacy import checks

case = pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in checks.CASES.items()])
both = pytest.mark.parametrize(
    "case",
    [
        pytest.param(checks.SCRATCH, id="scratch"),
        pytest.param(checks.MICROBATCHES_ADDED, id="microbatches"),
        pytest.param(checks.HEADS, id="heads"),
    ],
)


@case
def test_one_record_moves_the_sum_by_at_most_its_sensitivity(case):
    checks.check_sensitivity(case)


@case
def test_a_record_contributes_itself_and_nothing_else(case):
    checks.check_own_contribution(case)


@case
def test_a_record_that_was_not_sampled_leaves_no_trace(case):
    checks.check_no_other_path(case)


def test_features_that_are_kept_are_of_their_own_record():
    """The views of each example are encoded once, before the first step or when they are first asked for."""
    checks.check_sensitivity(checks.HEADS_KEPT)
    checks.check_own_contribution(checks.HEADS_KEPT)


def test_pretraining_is_on_public_data_alone():
    checks.check_pretraining()


@pytest.mark.parametrize("name", checks.MIDDLING)
def test_mean_over_views_then_clipping_then_the_sum(name):
    checks.check_contributions(checks.MIDDLING[name])


@case
def test_physical_batches_do_not_matter(case):
    checks.check_physical_batches(case)


@both
def test_sampling_at_exactly_the_published_rate(case):
    checks.check_sampling(case)


@both
def test_noise_once_per_logical_step(case):
    checks.check_noise_calls(case)


@both
def test_the_divisor_is_fixed(case):
    checks.check_update(case)


@both
@pytest.mark.parametrize("absent", [(), range(checks.SCRATCH.population)], ids=["sampled", "empty"])
def test_noise_reaches_the_weights(case, absent):
    checks.check_default_noise(case, absent=absent)


@pytest.mark.parametrize("settings", [ViewSettings(2, 0, 4), ViewSettings(1, 3, 5), ViewSettings(0, 3, 3)])
def test_images_really_mix(settings):
    private, synthetic = checks.images(5, seed=1), checks.images(6, seed=2)
    # Different labels everywhere, so that a mixture of labels shows.
    synthetic.labels[:] = np.arange(6) % checks.CLASSES
    views = make_views(private, range(5), settings, KeyedRandom(0, 0, np.arange(5)), synthetic)
    checks.check_mixtures(views, settings.k_base + settings.k_diff)
