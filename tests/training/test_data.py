"""Which images an experiment sees."""

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dpmix.artefacts.data import ImageStore, SyntheticStore
from dpmix.data.images import Images
from dpmix.data.sources import prepare
from dpmix.errors import DataError, PrivacyError
from dpmix.files import read_json, write_json
from dpmix.training.data import balanced_places, load_data, shuffled, take, view_settings
from dpmix.training.runner import make
from dpmix.views.settings import ViewSettings
from tests.training.conftest import DATASET, PIXELS, SYNTHETIC, TEST, TRAIN, World, draw, write_store


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


def test_table_10s_three_sets_are_of_equal_size(world: World) -> None:
    """Appendix B.1: S1, S2 and D; the world's D has just 48 images, this one more than there are private ones."""
    large = SYNTHETIC.model_copy(update={"size": 120})
    images, labels = draw(120, 2)
    labels = np.sort(labels)  # a store is sorted by class: its first images are not balanced
    write_store(SyntheticStore(synthetic=large, resolution=PIXELS).path("demo").parent, train=(images, labels))
    sizes = {}
    for method, changes in {"A": {"k_diff": 0}, "B": {}, "C": {"mix_with": "S2"}}.items():
        data = load_data(world.experiment(subset="S1", synthetic=large, **changes), "demo")
        assert data.mixed_in is not None
        assert data.public is not None
        sizes[method] = (len(data.private), len(data.mixed_in), len(data.public))
        assert np.bincount(data.public.labels).tolist() == [12, 12, 12, 12]
        assert identities(data.public) <= identities(Images(images, labels, tuple("abcd")))
        assert (method == "C") == (identities(data.mixed_in) <= identities(Images(*draw(TRAIN, 0), tuple("abcd"))))
    assert sizes == dict.fromkeys("ABC", (48, 48, 48))
    # All of D where the whole training set is private, and no more than there is.
    assert len(load_data(world.experiment(synthetic=large), "demo").public or ()) == 120
    assert len(load_data(world.experiment(subset="S1"), "demo").public or ()) == 48


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.data())
def test_a_part_of_d_is_as_balanced_as_d_and_grows(classes: list[int], data: st.DataObject) -> None:
    labels = np.array(classes, dtype=np.int64)
    whole = Images(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], labels, tuple("abcd"))
    count = data.draw(st.integers(1, len(labels)))
    part = take(whole, balanced_places(whole, count))
    chosen = np.asarray(part.images).ravel()
    assert len(set(chosen.tolist())) == count
    assert np.array_equal(part.labels, labels[chosen])
    # No class has two images more than another that has any left.
    taken, there = np.bincount(part.labels, minlength=4), np.bincount(labels, minlength=4)
    assert all(taken[a] <= taken[b] + 1 for a in range(4) for b in range(4) if taken[b] < there[b])
    assert set(chosen) <= set(np.asarray(take(whole, balanced_places(whole, count + 1)).images).ravel())


def test_a_tuning_run_on_a_half_stays_in_that_half(world: World) -> None:
    half = identities(load_data(world.experiment(subset="S1"), "demo").private)
    tuning = load_data(world.experiment(subset="S1", mix_with="S2", holdout=0.25, learning_rate=None), "demo")
    assert identities(tuning.private) | identities(tuning.evaluation) == half
    assert tuning.mixed_in is not None
    assert not identities(tuning.mixed_in) & half


PARTITIONS = {
    "S1": {"subset": "S1", "mix_with": "S2"},
    "held out": {"holdout": 0.25, "learning_rate": None},
    "both": {"subset": "S1", "mix_with": "S2", "holdout": 0.25, "learning_rate": None},
}


@pytest.mark.parametrize("changes", PARTITIONS.values(), ids=PARTITIONS)
def test_the_parts_are_public_and_the_same_for_every_seed(world: World, changes: dict[str, Any]) -> None:
    """Who is private, held out or mixed in is decided once, whatever is then done with the parts."""
    runs = [world.experiment(seed=seed, **changes) for seed in (1, 2, 3)]
    runs += [world.experiment(epsilon=7.0, method="another", k_base=4, **changes)]
    parts = []
    for run in runs:
        data = load_data(run, "demo")
        assert data.mixed_in is not None
        parts.append([identities(part) for part in (data.private, data.evaluation, data.mixed_in)])
    assert parts[1:] == parts[:1] * 3
    first = load_data(runs[0], "demo")
    # In the order of the store, beside their own labels.
    images, labels = draw(TRAIN, 0)
    places = [
        int(np.flatnonzero((images == image).all(axis=(1, 2, 3)))[0]) for image in np.asarray(first.private.images)
    ]
    assert places == sorted(places)
    assert first.private.labels.tolist() == labels[places].tolist()


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
    """Every setting of the views, each away from its default in one of two runs."""
    changes = {"mixup_alpha": 0.3, "mixup_pairs": "independent", "mixing": "cutmix", "augment_synthetic": False}
    run = world.experiment(**changes, k_base=3, k_self=4, k_diff=2, transforms=("flip", "crop"), padding=2)
    pairs = world.scratch(microbatch_size=2, microbatch_mixup="alone", k_self=0)
    expected = [
        ViewSettings(3, 2, 4, 0.3, "independent", ("flip", "crop"), 2, False, mixing="cutmix"),
        ViewSettings(2, transforms=("crop",), padding=1, microbatch_size=2, microbatch_mixup="alone"),
    ]
    assert [view_settings(run), view_settings(pairs)] == expected
    by_default = ViewSettings(1)
    for name in (field.name for field in fields(ViewSettings)):
        assert any(getattr(one, name) != getattr(by_default, name) for one in expected), name


@given(st.integers(0, 300), st.sampled_from(["subset", "holdout"]))
def test_the_order_is_a_permutation_that_depends_on_the_purpose(count: int, purpose: str) -> None:
    order = shuffled(count, purpose)
    assert sorted(order) == list(range(count))
    assert np.array_equal(order, shuffled(count, purpose))
    if count > 20:
        assert not np.array_equal(order, shuffled(count, purpose + "'"))
        assert not np.array_equal(order, np.arange(count))


def test_taking_keeps_labels_beside_images() -> None:
    images, labels = draw(8, 3)
    part = take(Images(images, labels, ("a", "b", "c", "d")), np.array([5, 2]))
    assert np.array_equal(part.images, images[[5, 2]])
    assert part.labels.tolist() == [1, 2]


@pytest.mark.parametrize("classes", [["class 1", "class 0", "class 2", "class 3"], ["a", "b", "c", "d"]])
def test_d_of_other_classes_or_in_another_order_is_one_line(world: World, classes: list[str]) -> None:
    """Heads whose features are standardised by D read it also where nothing of it is mixed in."""
    run = world.experiment(k_diff=0)
    load_data(run, "demo")
    meta = SyntheticStore(synthetic=SYNTHETIC, resolution=PIXELS).path("demo")
    write_json(meta, {**read_json(meta), "classes": classes})
    with pytest.raises(DataError, match=r"has other classes than \S+, or has them in another order; delete both and r"):
        load_data(run, "demo")


def folder_of_classes(root: Path, splits: tuple[str, ...]) -> None:
    """`TRAIN` images and `TEST` of the world, all in class folders or those of each split in its own."""
    for number, (split, (images, labels)) in enumerate(
        zip(("train", "test"), (draw(TRAIN, 0), draw(TEST, 1)), strict=True)
    ):
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            place = root / (split if splits else "") / f"class {label}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(place / f"{number}-{index:03}.png")


def test_a_release_on_a_folder_whose_split_is_drawn_is_refused_and_the_remedy_works(world: World) -> None:
    run = world.experiment(release=True)
    store, raw = ImageStore(dataset=DATASET, resolution=PIXELS).path("demo").parent, Path("raw")
    folder_of_classes(raw, ())
    prepare(run.dataset, PIXELS, Path("unused"), store)
    with pytest.raises(PrivacyError, match="lay the images into train/ and test/, for a release") as caught:
        load_data(run, "demo")
    assert "\n" not in str(caught.value)
    with pytest.raises(PrivacyError, match="which ε does not cover"):
        make([run], "demo")
    assert not run.directory("demo").exists()
    load_data(world.experiment(), "demo")  # research
    shutil.rmtree(raw)
    folder_of_classes(raw, ("train", "test"))
    prepare(run.dataset, PIXELS, Path("unused"), store)
    load_data(run, "demo")
