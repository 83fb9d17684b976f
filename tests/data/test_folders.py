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
    with pytest.raises(DataError, match="in holds no image in a class folder"):
        read()
    folder_of(root, {"a": 2})
    (root / "b").mkdir()
    with pytest.raises(DataError, match="in/b is an empty folder; mend or remove it"):
        read()
    (root / "b" / "IMG_1.heic").write_text("x")
    with pytest.raises(DataError, match=r"in/b/IMG_1\.heic is not an image that Pillow reads"):
        read()


def test_half_a_split_is_named(tmp_path: Path) -> None:
    def read(folder: Path, train: int = 4, test: int = 1) -> None:
        prepare(spec_of(folder, 2, train, test), 12, tmp_path, tmp_path / "out")

    folder_of(tmp_path / "in" / "train", {"a": 2, "b": 2})
    with pytest.raises(DataError, match="a folder train but not both train and test; add the other"):
        read(tmp_path / "in")
    folder_of(tmp_path / "in" / "test", {"c": 1})
    with pytest.raises(DataError, match="class 'c' has no training image; add some, or remove its test images"):
        read(tmp_path / "in")
    assert not (tmp_path / "out").exists()
    read(folder_of(tmp_path / "vehicles", {"car": 5, "train": 5}), 8, 2)
    assert load(tmp_path / "out").classes == ("car", "train")


@pytest.mark.parametrize("empty", [True, False])
def test_a_class_may_have_no_test_image(empty: bool, tmp_path: Path) -> None:
    folder_of(tmp_path / "in" / "train", {"a": 2, "b": 2})
    folder_of(tmp_path / "in" / "test", {"a": 1})
    if empty:
        (tmp_path / "in" / "test" / "b").mkdir()
    prepare(spec_of(tmp_path / "in", 2, 4, 1), 12, tmp_path, tmp_path / "out")
    assert load(tmp_path / "out", "test").classes == ("a", "b")
    (tmp_path / "in" / "train" / "c").mkdir()
    with pytest.raises(DataError, match="in/train/c is an empty folder; mend or remove it"):
        prepare(spec_of(tmp_path / "in", 2, 4, 1), 12, tmp_path, tmp_path / "out")


def test_files_beside_class_folders_are_no_matter(tmp_path: Path) -> None:
    folder_of(tmp_path / "in" / "train", {"a": 2, "b": 2})
    folder_of(tmp_path / "in" / "test", {"a": 1, "b": 1})
    for place in ("in/README.txt", "in/train/README.txt"):
        (tmp_path / place).write_text("x")
    prepare(spec_of(tmp_path / "in", 2, 4, 2), 12, tmp_path, tmp_path / "out")
    (tmp_path / "in" / "train" / "a" / "notes.txt").write_text("x")
    (tmp_path / "in" / "train" / "b" / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"a/notes\.txt is not an image that Pillow reads; .*, and 1 more such files$"):
        prepare(spec_of(tmp_path / "in", 2, 4, 2), 12, tmp_path, tmp_path / "out")


# Damaged images
@pytest.mark.parametrize("split", [True, False])
def test_all_damaged_images_are_named_and_can_be_left_out(split: bool, tmp_path: Path) -> None:
    root = tmp_path / "in"
    for side, count in (("train", 6), ("test", 3)) if split else (("", 9),):
        folder_of(root / side, {"a": count, "b": count})
    damaged = sorted(root.rglob("a/00[12].png"))
    for path in damaged:
        path.write_bytes(path.read_bytes()[:90])
    spec = spec_of(root, 2, 12, 6)
    with pytest.raises(DataError, match=rf"^{len(damaged)} images are damaged: .*by skip_damaged: true") as caught:
        prepare(spec, 12, tmp_path, tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1
    assert all(str(path) in str(caught.value) for path in damaged)
    skipping = spec.model_copy(update={"skip_damaged": True})
    with pytest.raises(DataError, match=rf"correct the sizes .*, from which {len(damaged)} damaged images"):
        prepare(skipping, 12, tmp_path, tmp_path / "out")
    kept = {"train": 10, "test": 4} if split else {"train": 10, "test": 6}
    prepare(skipping.model_copy(update=kept), 12, tmp_path, tmp_path / "out")
    assert len(load(tmp_path / "out")) == 10


# Persons
def test_persons_are_those_of_folders_or_a_table(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "in", {"train/cat/ada": 2, "train/dog/ada": 1, "train/dog/ben": 2, "test/cat/cy": 1})
    spec = spec_of(root, 2, 5, 1).model_copy(update={"train": None, "persons": 2})
    prepare(spec, 12, tmp_path, tmp_path / "out")
    assert load(tmp_path / "out").persons.tolist() == [0, 0, 0, 1, 1]  # type: ignore[union-attr]
    with pytest.raises(DataError, match="given as 3, any number and 1"):
        prepare(spec.model_copy(update={"classes": 3}), 12, tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="images of 2 persons, but persons is given as 3"):
        prepare(spec.model_copy(update={"persons": 3}), 12, tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="nothing says which persons are in either; lay their images into folders"):
        prepare(spec.model_copy(update={"path": str(root / "train")}), 12, tmp_path, tmp_path / "out")


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
    with pytest.raises(DataError, match=r"has a folder 'cats', which is no class of .*; did you mean 'cat'") as caught:
        read_public(source, 12, classes=("cat", "ant"))
    assert "\n" not in str(caught.value)
