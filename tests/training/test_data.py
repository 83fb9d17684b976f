"""Which images an experiment sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpmix.datasets import Images
from dpmix.errors import DataError
from dpmix.experiment import ImageStore
from dpmix.training.data import load_data, shuffled, take, view_settings
from tests.training.conftest import DATASET, PIXELS, TEST, TRAIN, World, draw, write_store


def identities(images: Images) -> set[bytes]:
    """Every image of the world is another."""
    return {image.tobytes() for image in np.asarray(images.images)}


@pytest.fixture
def train() -> set[bytes]:
    return {image.tobytes() for image in draw(TRAIN, 0)[0]}


@pytest.fixture
def test() -> set[bytes]:
    return {image.tobytes() for image in draw(TEST, 1)[0]}


def test_a_run_trains_on_all_and_is_measured_on_the_test_set(world: World, train: set[bytes], test: set[bytes]) -> None:
    data = load_data(world.experiment(), "demo")
    assert (identities(data.private), identities(data.evaluation)) == (train, test)
    assert data.mixed_in is data.public
    assert data.public is not None
    assert len(data.public) == 48


def test_a_tuning_run_never_sees_the_test_set(world: World, train: set[bytes], test: set[bytes]) -> None:
    tuning = world.experiment(holdout=0.25, learning_rate=None)
    data = load_data(tuning, "demo")
    private, held_out = identities(data.private), identities(data.evaluation)
    assert not held_out & private
    assert held_out | private == train
    assert (len(private), len(held_out)) == (tuning.population, tuning.held_out_size) == (72, 24)
    assert not (private | held_out) & test


def test_the_two_halves_are_disjoint(world: World, train: set[bytes]) -> None:
    run = world.experiment(subset="S1", mix_with="S2")
    data = load_data(run, "demo")
    assert data.mixed_in is not None
    first, second = identities(data.private), identities(data.mixed_in)
    assert not first & second
    assert first | second == train
    assert len(first) == len(second) == run.population == 48


def test_a_tuning_run_on_a_half_stays_in_that_half(world: World) -> None:
    half = identities(load_data(world.experiment(subset="S1"), "demo").private)
    tuning = load_data(world.experiment(subset="S1", mix_with="S2", holdout=0.25, learning_rate=None), "demo")
    assert identities(tuning.private) | identities(tuning.evaluation) == half
    assert tuning.mixed_in is not None
    assert not identities(tuning.mixed_in) & half


def test_the_parts_are_the_same_for_every_seed(world: World) -> None:
    parts = [identities(load_data(world.experiment(subset="S1", seed=seed), "demo").private) for seed in (1, 2)]
    assert parts[0] == parts[1]


def test_a_size_that_is_not_the_published_one_is_refused(world: World) -> None:
    run = world.experiment()
    store = ImageStore(dataset=DATASET, resolution=PIXELS).path("demo").parent
    write_store(store, train=draw(TRAIN - 1, 0), test=draw(TEST, 1))
    with pytest.raises(DataError, match="has 95 train images, not the published 96; delete and remake it"):
        load_data(run, "demo")
    (store / "meta.json").unlink()
    with pytest.raises(DataError, match="not an image store"):
        load_data(run, "demo")


def test_views_are_made_as_the_experiment_says(world: World) -> None:
    settings = view_settings(world.experiment(mixup_alpha=0.3, mixup_pairs="independent", padding=2))
    assert (settings.k_base, settings.k_self, settings.k_diff, settings.views) == (2, 2, 1, 5)
    assert (settings.alpha, settings.pairs, settings.transforms, settings.padding) == (0.3, "independent", ("crop",), 2)


@given(st.integers(0, 300), st.sampled_from(["subset", "holdout"]))
def test_the_order_is_a_permutation_that_depends_on_the_purpose(count: int, purpose: str) -> None:
    order = shuffled(count, purpose)
    assert sorted(order) == list(range(count))
    assert np.array_equal(order, shuffled(count, purpose))
    if count > 20:
        assert not np.array_equal(order, shuffled(count, purpose + "'"))


def test_taking_keeps_labels_beside_images() -> None:
    images, labels = draw(8, 3)
    part = take(Images(images, labels, ("a", "b", "c", "d")), np.array([5, 2]))
    assert np.array_equal(part.images, images[[5, 2]])
    assert part.labels.tolist() == [1, 2]
