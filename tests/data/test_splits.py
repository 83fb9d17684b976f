"""Drawn splits are stratified, depend on a name alone, and never change."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpmix.data import splits
from dpmix.data.sources import prepare
from dpmix.data.splits import split_digest, stratified_split
from dpmix.errors import DataError
from tests.data.conftest import digits_of


# Splits
@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=80), share=st.floats(0, 1))
def test_split_is_stratified_exact_and_a_partition(labels: list[int], share: float) -> None:
    array = np.asarray(labels, dtype=np.int64)
    test = int(share * len(array))
    train, held = stratified_split(array, test, "x")
    assert len(held) == test
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(len(array)))
    assert np.array_equal(train, np.sort(train))
    assert np.array_equal(held, np.sort(held))
    given_up = np.bincount(array[held], minlength=6)
    assert np.abs(given_up - np.bincount(array, minlength=6) * test / len(array)).max() < 1


def test_an_image_that_leaves_moves_others() -> None:
    """So no release may train on a split that is drawn this way; docs/pitfalls.md has the number."""
    labels, images = np.repeat([0, 1, 2], [33, 33, 34]), np.arange(100)
    before = set(images[stratified_split(labels, 20, "folder")[1]])
    after = set(images[1:][stratified_split(labels[1:], 20, "folder")[1]])
    assert len((before ^ after) - {0}) == 34


def test_split_depends_on_its_name_and_on_nothing_else() -> None:
    labels = np.repeat(np.arange(4), 50)
    np.random.seed(0)  # noqa: NPY002  # the global state must not matter
    first = stratified_split(labels, 40, "eurosat")
    np.random.seed(1)  # noqa: NPY002
    again = stratified_split(labels, 40, "eurosat")
    other = stratified_split(labels, 40, "sun397")
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])
    assert first[1].tolist()[:5] == [4, 9, 17, 22, 24]


@pytest.mark.parametrize(
    ("size", "train", "test"), [(30607, 24485, 6122), (108754, 87003, 21751), (27000, 21600, 5400)]
)
def test_the_papers_sizes_are_the_last_fifth_rounded_up(size: int, train: int, test: int) -> None:
    labels = np.random.default_rng(0).integers(0, 10, size)
    kept, held = stratified_split(labels, test, "x")
    assert (len(kept), len(held)) == (train, test)
    assert test == -(-size // 5)


# What decides each split: the images that go to the test part if all were of one class. Labels only sort these draws.
DRAWS = {
    ("eurosat", 27000, 5400): "51f4e5c6fa57620c07c84feab12c6f561319898c8afe04fe35377e9a19a63f4e",
    ("caltech256", 30607, 6122): "217816f7926331936a8b85fc2184150937f7c77ee782f003b4205118808ddf7e",
    ("sun397", 108754, 21751): "3104ede12a53da6ee52d106ebdb7d1c5670ab92762aeeb9b4263958491c84503",
}

# EuroSAT's split itself, from the sizes of its classes in alphabetical order.
EUROSAT = "231279592963c9a0485b3bc4022deee294619179650ecd0678157487607b6d44"

EUROSAT_CLASSES = (3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000)


@pytest.mark.parametrize(("name", "images", "test"), DRAWS)
def test_the_draws_behind_a_split_never_change(name: str, images: int, test: int) -> None:
    _, held = stratified_split(np.zeros(images, dtype=np.int64), test, name)
    assert split_digest(held) == DRAWS[name, images, test]


def test_eurosats_split_never_changes() -> None:
    labels = np.repeat(np.arange(10), EUROSAT_CLASSES)
    _, held = stratified_split(labels, 5400, "eurosat")
    assert split_digest(held) == EUROSAT
    assert np.bincount(labels[held]).tolist() == [size // 5 for size in EUROSAT_CLASSES]


def test_a_store_says_which_split_it_holds(digits: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meta = json.loads((digits / "meta.json").read_text())
    assert meta["split_sha256"] == splits.SPLIT_DIGESTS["digits", 1797]
    monkeypatch.setitem(splits.SPLIT_DIGESTS, ("digits", 1797), "another")
    with pytest.raises(DataError, match=r"^digits: the split drawn is not the one that results rest on") as caught:
        prepare(digits_of(1437), 8, tmp_path, tmp_path / "store")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_split_of_more_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot take 4"):
        stratified_split(np.zeros(3, dtype=np.int64), 4, "x")
