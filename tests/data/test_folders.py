"""Which files of a folder are images of which class and split; a line says what is refused, and why."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix.data.folders import read_public
from dpmix.data.images import load
from dpmix.data.sources import prepare
from dpmix.errors import DataError
from tests.data.conftest import folder_of, spec_of


# Folders
def test_folder_with_a_split(tmp_path: Path) -> None:
    folder_of(tmp_path / "in" / "train", {"cat": 3, "ant": 2})
    folder_of(tmp_path / "in" / "test", {"cat": 1, "ant": 1})
    prepare(spec_of(tmp_path / "in", 2, 5, 2), 12, tmp_path / "raw", tmp_path / "out")
    train = load(tmp_path / "out")
    assert train.classes == ("ant", "cat")
    assert train.labels.tolist() == [0, 0, 1, 1, 1]
    assert load(tmp_path / "out", "test").labels.tolist() == [0, 1]
    first = np.asarray(Image.open(tmp_path / "in" / "train" / "ant" / "000.png"))
    assert np.array_equal(train.images[0], first.transpose(2, 0, 1))
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["sizes"] == {"train": 5, "test": 2}
    assert (meta["resolution"], meta["channels"], meta["split"]) == (12, 3, "given")


def test_folder_without_a_split_gets_one(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", {"a": 10, "b": 5})
    prepare(spec_of(tmp_path / "in", 2, 12, 3), 12, tmp_path, tmp_path / "out")
    train, test = load(tmp_path / "out"), load(tmp_path / "out", "test")
    assert np.bincount(test.labels).tolist() == [2, 1]
    together = {image.tobytes() for image in np.concatenate([train.images, test.images])}
    assert len(together) == 15


def test_images_may_lie_deeper_and_litter_is_skipped(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "in", {"a/patient1": 2, "a/patient2": 2, "b": 2})
    (root / "a" / ".DS_Store").write_text("x")
    (root / "b" / "Thumbs.db").write_text("x")
    (root / ".cache").mkdir()
    (root / "labels.csv").write_text("beside the class folders")
    prepare(spec_of(root, 2, 4, 2), 12, tmp_path, tmp_path / "out")
    assert load(tmp_path / "out").classes == ("a", "b")


def test_folders_that_make_no_sense_are_named(tmp_path: Path) -> None:
    root = tmp_path / "in"

    def read() -> None:
        prepare(spec_of(root, 2, 1, 1), 12, tmp_path, tmp_path / "out")

    with pytest.raises(DataError, match="in does not exist"):
        read()
    root.mkdir()
    with pytest.raises(DataError, match="in has no class folders"):
        read()
    folder_of(root, {"a": 2})
    (root / "b").mkdir()
    with pytest.raises(DataError, match="in/b holds no image"):
        read()
    (root / "b" / "IMG_1.heic").write_text("x")
    with pytest.raises(DataError, match=r"in/b/IMG_1\.heic is not an image that Pillow reads"):
        read()


def test_half_a_split_is_named(tmp_path: Path) -> None:
    def read(folder: Path, train: int = 3, test: int = 1) -> None:
        prepare(spec_of(folder, 2, train, test), 12, tmp_path, tmp_path / "out")

    folder_of(tmp_path / "in" / "train", {"a": 2, "b": 2})
    with pytest.raises(DataError, match="train but none called test"):
        read(tmp_path / "in")
    folder_of(tmp_path / "in" / "test", {"a": 2})
    with pytest.raises(DataError, match="in/test has no folder for class 'b'"):
        read(tmp_path / "in")
    folder_of(tmp_path / "in" / "test", {"b": 1, "c": 1})
    with pytest.raises(DataError, match="in/train has no folder for class 'c'"):
        read(tmp_path / "in")
    assert not (tmp_path / "out").exists()
    read(folder_of(tmp_path / "vehicles", {"car": 5, "train": 5}), 8, 2)
    assert load(tmp_path / "out").classes == ("car", "train")


# Public images
def test_public_labels_are_in_the_private_order(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "D", {"ant": 1, "cat": 2, "traffic_light": 3})
    own = read_public(source, 12)
    assert (own.classes, own.labels.tolist()) == (("ant", "cat", "traffic light"), [0, 1, 1, 2, 2, 2])
    private = ("TrafficLight", "dog", "cat", "ant")
    found = read_public(source, 12, classes=private, channels=1)
    assert (found.classes, found.labels.tolist()) == (private, [3, 2, 2, 0, 0, 0])
    assert found.images.shape == (6, 1, 12, 12)
    grey = np.asarray(Image.open(source / "ant" / "000.png").convert("L"))
    assert np.array_equal(found.images[0, 0], grey)


def test_a_public_class_that_is_none_of_the_private_is_named(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "D", {"ant": 1, "cats": 1})
    with pytest.raises(DataError, match="the folder cats is none of the classes; did you mean 'cat'") as caught:
        read_public(source, 12, classes=("cat", "ant"))
    assert "\n" not in str(caught.value)
