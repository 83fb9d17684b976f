"""A listing as a file, and the image store that is made from it; a folder that changed in between is noticed."""

import os
from pathlib import Path

import numpy as np
import pytest

from dpmix.data.images import load
from dpmix.data.listing import Listing, read_listing
from dpmix.data.manifest import fingerprint, pool_of_manifest, read_manifest, write_manifest
from dpmix.data.sources import prepare
from dpmix.errors import DataError
from dpmix.params.specs import DatasetSpec
from tests.data.conftest import archive, folder_of, picture, save


def spec_of(path: Path, classes: int, train: int, test: int) -> DatasetSpec:
    return DatasetSpec(
        name="mine", label="Mine", source="listed", classes=classes, train=train, test=test, path=str(path)
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder_of(tmp_path / "mine" / "train", {"b/p2": 2, "b/p1": 1, 'a "ü",/p1': 3})
    return folder_of(tmp_path / "mine" / "test", {"b/p3": 2, 'a "ü",/p3': 1}).parent


def test_a_manifest_is_the_listing(root: Path, tmp_path: Path) -> None:
    listing = read_listing(root, persons=True)
    write_manifest(listing, tmp_path / "manifest.csv")
    again = read_manifest(tmp_path / "manifest.csv")
    assert again.images == listing.images
    assert again.classes == listing.classes == ('a "ü",', "b")
    assert again.root == root
    lines = (tmp_path / "manifest.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# {")
    assert lines[1] == "file_name,label,split,person"
    assert len(lines) == 2 + 9


def test_a_class_without_images_keeps_its_place(root: Path, tmp_path: Path) -> None:
    listing = read_listing(root)
    fewer = Listing(root, tuple(image for image in listing.images if image.label == 1), listing.classes)
    write_manifest(fewer, tmp_path / "manifest.csv")
    again = read_manifest(tmp_path / "manifest.csv")
    assert (again.classes, again.images) == (fewer.classes, fewer.images)
    assert (tmp_path / "manifest.csv").read_text(encoding="utf-8").splitlines()[1] == "file_name,label,split"


def test_a_store_from_a_manifest_is_that_from_the_folder(root: Path, tmp_path: Path) -> None:
    write_manifest(read_listing(root), tmp_path / "manifest.csv")
    prepare(spec_of(tmp_path / "manifest.csv", 2, 6, 3), 8, tmp_path, tmp_path / "listed")
    folder = spec_of(root, 2, 6, 3).model_copy(update={"source": "folder"})
    prepare(folder, 8, tmp_path, tmp_path / "folder")
    for split in ("train", "test"):
        ours, theirs = load(tmp_path / "listed", split), load(tmp_path / "folder", split)
        assert ours.classes == theirs.classes
        assert np.array_equal(ours.images, theirs.images)
        assert np.array_equal(ours.labels, theirs.labels)


def test_persons_are_numbered_within_a_split(root: Path, tmp_path: Path) -> None:
    write_manifest(read_listing(root, persons=True), tmp_path / "manifest.csv")
    pool = pool_of_manifest(tmp_path / "manifest.csv")
    train, test = pool.parts["train"].persons, pool.parts["test"].persons
    assert train is not None
    assert test is not None
    assert train.tolist() == [0, 0, 0, 0, 1, 1]
    assert (test.tolist(), test.dtype) == ([0, 0, 0], np.int64)
    spec = spec_of(tmp_path / "manifest.csv", 2, 6, 3)
    prepare(spec.model_copy(update={"persons": 2}), 8, tmp_path, tmp_path / "out")
    stored = load(tmp_path / "out").persons
    assert stored is not None
    assert stored.tolist() == train.tolist()
    with pytest.raises(DataError, match="holds training images of 2 persons, but persons is given as 3"):
        prepare(spec.model_copy(update={"persons": 3}), 8, tmp_path, tmp_path / "out")
    write_manifest(read_listing(root), tmp_path / "manifest.csv")
    assert pool_of_manifest(tmp_path / "manifest.csv").parts["train"].persons is None


# What changes
def test_a_folder_that_changed_is_noticed(root: Path, tmp_path: Path) -> None:
    write_manifest(read_listing(root), tmp_path / "manifest.csv")
    path, other = root / "train" / "b" / "p1" / "000.png", root / "train" / "b" / "p2" / "000.png"
    os.utime(path, (1, 1))
    line = rf"the images in .*mine have changed since manifest\.csv listed them; delete {tmp_path} and begin anew"
    with pytest.raises(DataError, match=rf"^{line}$"):
        prepare(spec_of(tmp_path / "manifest.csv", 2, 6, 3), 8, tmp_path, tmp_path / "out")
    os.utime(other, (1, 1))
    other.write_bytes(other.read_bytes().ljust(path.stat().st_size, b"\0"))
    path.write_bytes(path.read_bytes().ljust(other.stat().st_size, b"\0"))
    for one in (path, other):
        os.utime(one, (1, 1))
    write_manifest(read_listing(root), tmp_path / "manifest.csv")
    aside = path.rename(tmp_path / "aside.png")  # they change places, with their sizes and times
    other.rename(path)
    aside.rename(other)
    with pytest.raises(DataError, match=rf"^{line}$"):
        pool_of_manifest(tmp_path / "manifest.csv")
    path.unlink()
    with pytest.raises(DataError, match=r"000\.png cannot be read \(No such file"):
        pool_of_manifest(tmp_path / "manifest.csv")


def test_by_content_a_new_time_is_no_change_but_a_new_pixel_is(root: Path) -> None:
    listing = read_listing(root)
    quick, content = fingerprint(listing), fingerprint(listing, content=True)
    path = root / "train" / "b" / "p1" / "000.png"
    os.utime(path, (1, 1))
    assert fingerprint(listing) != quick
    assert fingerprint(listing, content=True) == content
    save(picture(77), path)
    assert fingerprint(listing, content=True) != content


def test_labels_splits_and_persons_are_part_of_it(root: Path) -> None:
    listing = read_listing(root)
    first = listing.images[0]
    for changed in (first._replace(label=1), first._replace(split="train"), first._replace(person="x")):
        other = Listing(root, (changed, *listing.images[1:]), listing.classes)
        assert fingerprint(other) != fingerprint(listing)


def test_an_image_in_an_archive_is_known_by_its_checksum(tmp_path: Path) -> None:
    members = {f"{name}/{index}.png": b"%d" % index for name in "ab" for index in range(3)}
    path = archive(tmp_path / "d.zip", members)
    before = fingerprint(read_listing(path))
    archive(path, members | {"c/notes.txt": b"more"})
    assert fingerprint(read_listing(path)) == before
    archive(path, members | {"a/1.png": b"9"})
    assert fingerprint(read_listing(path)) != before


# What is refused
def test_all_damaged_images_are_named_at_once(root: Path, tmp_path: Path) -> None:
    broken = [root / "train" / "b" / "p2" / "000.png", root / "test" / "b" / "p3" / "001.png"]
    for path in broken:
        path.write_bytes(path.read_bytes()[:100])
    listing = read_listing(root)
    write_manifest(listing, tmp_path / "manifest.csv")
    with pytest.raises(DataError, match=r"2 images are damaged: .*train/b/p2/000\.png .*test/b/p3/001\.png"):
        prepare(spec_of(tmp_path / "manifest.csv", 2, 6, 3), 8, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    write_manifest(read_listing(root, skip_damaged=True), tmp_path / "manifest.csv")
    prepare(spec_of(tmp_path / "manifest.csv", 2, 5, 2), 8, tmp_path, tmp_path / "out")
    assert len(load(tmp_path / "out")) == 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "file_name,label\n1.png,a\n",
        '# {"root": ".", "classes": ["a"], "split": "given"}\nfile_name,label,split\n1.png,b,train\n',
        '# {"root": ".", "classes": ["a"], "split": "given"}\nfile_name,label,split\n1.png,a,other\n',
        '# {"root": ".", "classes": ["a"], "split": "given"}\nfile_name,label,split\n',
    ],
)
def test_what_is_no_manifest_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest\.csv is no manifest .*; list the images again"):
        read_manifest(tmp_path / "manifest.csv")
    with pytest.raises(DataError, match=r"nowhere\.csv cannot be read"):
        read_manifest(tmp_path / "nowhere.csv")
