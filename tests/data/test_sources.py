"""Scikit-learn's digits, and sizes that are not those that were given."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix.data.images import load
from dpmix.data.sources import prepare
from dpmix.errors import DataError
from dpmix.params.specs import DatasetSpec
from tests.data.conftest import digits_of, folder_of, spec_of


def test_digits_are_all_there_once(digits: Path) -> None:
    from sklearn.datasets import load_digits

    train, test = load(digits), load(digits, "test")
    assert (len(train), len(test)) == (1437, 360)
    assert train.classes == tuple("0123456789")
    assert train.num_classes == 10
    assert train.images.shape == (1437, 1, 8, 8)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int64
    images = np.concatenate([train.images, test.images]).reshape(-1, 64)
    labels = np.concatenate([train.labels, test.labels])
    original = load_digits()
    expected = np.rint(original.data * 255 / 16).astype(np.uint8)
    key = np.lexsort(np.column_stack([images, labels]).T)
    other = np.lexsort(np.column_stack([expected, original.target]).T)
    assert np.array_equal(images[key], expected[other])
    assert np.array_equal(labels[key], original.target[other])


def test_digits_split_is_stratified_and_never_changes(digits: Path) -> None:
    test = load(digits, "test")
    counts = np.bincount(test.labels)
    whole = np.bincount(load(digits).labels) + counts
    assert np.abs(counts - whole * 360 / 1797).max() < 1
    # The split is part of every published number: a change here is a change of the data set.
    assert json.loads((digits / "meta.json").read_text())["split_seed"] == 2023
    assert int((test.labels * np.arange(360)).sum()) == 298082


def test_fewer_digits_are_a_balanced_part_of_the_same_training_set(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "few"
    prepare(digits_of(300), 8, tmp_path, out)
    few, many = load(out), load(digits)
    assert len(few) == 300
    assert np.bincount(few.labels).min() >= 29
    everything = {image.tobytes() for image in many.images}
    assert all(image.tobytes() in everything for image in few.images)
    assert np.array_equal(load(out, "test").images, load(digits, "test").images)


def test_digits_are_enlarged_by_bicubic_interpolation(digits: Path, tmp_path: Path) -> None:
    prepare(digits_of(1437), 16, tmp_path, tmp_path / "large")
    large, small = load(tmp_path / "large"), load(digits)
    for index in (0, 700, 1436):
        expected = Image.fromarray(small.images[index, 0]).resize((16, 16), Image.Resampling.BICUBIC)
        assert np.array_equal(large.images[index, 0], np.asarray(expected))


@pytest.mark.parametrize(("train", "test"), [(1438, 360), (1437, 100)])
def test_digits_of_other_sizes_are_refused(train: int, test: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give train at most 1437, test 360"):
        prepare(digits_of(train, test), 8, tmp_path, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("classes", "train", "test"), [(3, 8, 2), (2, 7, 2), (2, 9, 2)])
def test_sizes_other_than_the_published_ones_are_refused(classes: int, train: int, test: int, tmp_path: Path) -> None:
    root = folder_of(tmp_path / "in", {"a": 5, "b": 5})
    with pytest.raises(DataError, match="holds 2 classes, 8 training and 2 test images, but its sizes are given as"):
        prepare(spec_of(root, classes, train, test), 12, tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="10 test images asked for, but there are 10 images"):
        prepare(spec_of(root, 2, 1, 10), 12, tmp_path, tmp_path / "out")


# Parts of a folder's training images ----------------------------------------------------------------------------------


def split_folder(root: Path) -> Path:
    folder_of(root / "train", {"ant": 20, "bee": 40})
    folder_of(root / "test", {"ant": 3, "bee": 5})
    return root


def drawn(root: Path, train: int, drawn_from: int = 60) -> DatasetSpec:
    return DatasetSpec(**{**spec_of(root, 2, train, 8).model_dump(), "drawn_from": drawn_from})


def test_a_part_is_of_the_training_images_in_proportion_and_each_call_draws_the_same(tmp_path: Path) -> None:
    root = split_folder(tmp_path / "all")
    prepare(spec_of(root, 2, 60, 8), 8, tmp_path, tmp_path / "whole")
    prepare(drawn(root, 30), 8, tmp_path, tmp_path / "part")
    prepare(drawn(root, 30), 8, tmp_path, tmp_path / "again")
    part, whole = load(tmp_path / "part"), load(tmp_path / "whole")
    assert np.bincount(part.labels).tolist() == [10, 20]
    places = {image.tobytes(): index for index, image in enumerate(whole.images)}
    taken = [places[image.tobytes()] for image in part.images]
    assert taken == sorted(set(taken)), "each once, in their order"
    assert taken != list(range(10)) + list(range(20, 40)), "not the first ones"
    assert np.array_equal(whole.labels[taken], part.labels)
    assert np.array_equal(load(tmp_path / "again").images, part.images)
    assert np.array_equal(load(tmp_path / "part", "test").images, load(tmp_path / "whole", "test").images)
    assert json.loads((tmp_path / "part" / "meta.json").read_text())["drawn_from"] == 60


def test_a_part_of_another_number_than_is_published_is_one_line(tmp_path: Path) -> None:
    root = split_folder(tmp_path / "all")
    with pytest.raises(DataError, match="holds 60 training images, but drawn_from is given as 70; correct the sizes"):
        prepare(drawn(root, 30, 70), 8, tmp_path, tmp_path / "part")
    assert not (tmp_path / "part").exists()
