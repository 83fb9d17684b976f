"""Zip archives of class folders: what is listed, in which order, and what is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix.data import zips
from dpmix.data.folders import class_files, read_public
from dpmix.data.images import load
from dpmix.data.sources import prepare
from dpmix.errors import DataError
from dpmix.params.specs import DatasetSpec
from tests.data.conftest import archive

SUFFIXES = frozenset({".png", ".webp"})


def picture(seed: int, kind: str = "PNG", side: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, lossless=True)
    return buffer.getvalue()


def names(listed: dict[str, list[zips.File]]) -> dict[str, list[str]]:
    return {name: [file.path.name for file in files] for name, files in listed.items()}


def spec_of(path: Path, train: int, test: int, classes: int = 2) -> DatasetSpec:
    return DatasetSpec(
        name="mine", label="Mine", source="folder", classes=classes, train=train, test=test, path=str(path)
    )


def test_class_folders_of_several_archives_are_laid_together_and_sorted(tmp_path: Path) -> None:
    archive(tmp_path / "train-0.zip", {"train/dog/2.png": b"", "train/cat/9.png": b"", "train/": b""})
    archive(
        tmp_path / "train-1.zip", {"train/cat/1.png": b"", "__MACOSX/train/cat/._1.png": b"", "train/.x/1.png": b""}
    )
    archive(tmp_path / "test.zip", {"test/cat/5.png": b"", "test/dog/sub/6.png": b"", "test/Thumbs.db": b""})
    listed = zips.listing(tmp_path, SUFFIXES, frozenset({"thumbs.db"}))
    assert names(listed["train"]) == {"cat": ["1.png", "9.png"], "dog": ["2.png"]}
    assert names(listed["test"]) == {"cat": ["5.png"], "dog": ["6.png"]}


@pytest.mark.parametrize("prefix", ["", "set/", "a/b/"])
def test_folders_that_all_images_share_name_no_class(tmp_path: Path, prefix: str) -> None:
    path = archive(tmp_path / "d.zip", {f"{prefix}cat/1.png": b"", f"{prefix}dog/1.png": b""})
    assert names(zips.listing(path, SUFFIXES)["all"]) == {"cat": ["1.png"], "dog": ["1.png"]}


def test_one_class_is_a_class(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.zip", {"set/cat/1.png": b"", "set/cat/2.png": b""})
    assert names(zips.listing(path, SUFFIXES)["all"]) == {"cat": ["1.png", "2.png"]}


def test_both_splits_in_one_archive(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.zip", {"d/train/cat/1.png": b"", "d/test/cat/2.png": b"", "d/train/dog/3.png": b""})
    listed = zips.listing(path, SUFFIXES)
    assert names(listed["train"]) == {"cat": ["1.png"], "dog": ["3.png"]}
    assert names(listed["test"]) == {"cat": ["2.png"]}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"cat/1.png": b"", "cat/notes.txt": b""}, "notes.txt is not an image"),
        ({"1.png": b"", "cat/2.png": b""}, "lies in no class folder"),
        ({"set/1.png": b"", "2.png": b""}, "lies in no class folder"),
        ({".hidden/1.png": b""}, "holds no image"),
    ],
)
def test_what_is_no_class_folder_is_one_line(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    path = archive(tmp_path / "d.zip", members)
    with pytest.raises(DataError, match=words) as caught:
        zips.listing(path, SUFFIXES)
    assert "\n" not in str(caught.value)


def test_an_image_in_two_archives_is_refused(tmp_path: Path) -> None:
    for number in (0, 1):
        archive(tmp_path / f"train-{number}.zip", {"cat/1.png": b""})
    archive(tmp_path / "test.zip", {"cat/1.png": b""})
    with pytest.raises(DataError, match=r"train-1.zip/cat/1.png is there twice"):
        zips.listing(tmp_path, SUFFIXES)


def test_one_split_without_the_other_is_refused(tmp_path: Path) -> None:
    archive(tmp_path / "train-0.zip", {"cat/1.png": b""})
    with pytest.raises(DataError, match=r"no archive test\*.zip"):
        zips.find(tmp_path)


def test_damage_encryption_and_bombs_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.zip"
    with pytest.raises(DataError, match="cannot be read"):
        zips.listing(path, SUFFIXES)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a whole zip archive"):
        zips.listing(path, SUFFIXES)
    content = b"content of a file that is stored as it is"
    archive(path, {"cat/1.png": content})
    monkeypatch.setattr(zips, "LARGEST_IMAGE", len(content) - 1)
    with pytest.raises(DataError, match="too many for an image"):
        zips.listing(path, SUFFIXES)
    monkeypatch.undo()
    whole = path.read_bytes()
    path.write_bytes(whole.replace(content, content[::-1]))
    (file,) = zips.listing(path, SUFFIXES)["all"]["cat"]
    with pytest.raises(DataError, match=r"d.zip/cat/1.png cannot be read \(Bad CRC"):
        file.read()
    flagged = bytearray(whole)
    flagged[whole.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(flagged)
    with pytest.raises(DataError, match="is encrypted"):
        zips.listing(path, SUFFIXES)


def test_names_that_climb_out_are_no_paths(tmp_path: Path) -> None:
    outside = {"../../cat/1.png": picture(1), "/dog/1.png": picture(2), "..\\owl\\1.png": picture(3)}
    path = archive(tmp_path / "d.zip", outside)
    assert list(zips.listing(path, SUFFIXES)["all"]) == ["dog"]


def test_a_store_from_archives_is_that_from_folders(tmp_path: Path) -> None:
    zipped, plain = tmp_path / "zips", tmp_path / "plain"
    zipped.mkdir()
    images = {
        f"{split}/{name}/{index}.webp": picture(100 * seed + index, "WEBP")
        for seed, (split, name) in enumerate((s, c) for s in ("train", "test") for c in ("cat", "dog"))
        for index in range(3)
    }
    for name, content in images.items():
        (plain / name).parent.mkdir(parents=True, exist_ok=True)
        (plain / name).write_bytes(content)
    for number in (0, 1):
        some = [name for name in images if name.startswith("train") and int(name[-6]) % 2 == number]
        archive(zipped / f"train-{number}.zip", {name: images[name] for name in some})
    archive(zipped / "test.zip", {name: images[name] for name in images if name.startswith("test")})
    archive(tmp_path / "one.zip", images)
    stores = {}
    for source in (plain, zipped, tmp_path / "one.zip"):
        out = tmp_path / "out" / source.name
        prepare(spec_of(source, 6, 6), 8, tmp_path, out)
        stores[source.name] = [load(out, split) for split in ("train", "test")]
    assert [len(split) for split in stores["plain"]] == [6, 6]
    for name in ("zips", "one.zip"):
        for ours, theirs in zip(stores[name], stores["plain"], strict=True):
            assert ours.classes == theirs.classes == ("cat", "dog")
            assert np.array_equal(ours.images, theirs.images)
            assert np.array_equal(ours.labels, theirs.labels)


def test_an_archive_without_splits_is_split_as_its_folder_is(tmp_path: Path) -> None:
    images = {f"{name}/{index}.png": picture(index, side=4) for name in ("cat", "dog") for index in range(6)}
    for name, content in images.items():
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(content)
    path = archive(tmp_path / "d.zip", images)
    prepare(spec_of(path, 9, 3), 4, tmp_path, tmp_path / "zipped")
    prepare(spec_of(tmp_path / "d", 9, 3), 4, tmp_path, tmp_path / "plain")
    for split in ("train", "test"):
        assert np.array_equal(load(tmp_path / "zipped", split).images, load(tmp_path / "plain", split).images)


def test_sizes_that_differ_and_classes_in_one_split_only_are_refused(tmp_path: Path) -> None:
    archive(tmp_path / "train.zip", {"cat/1.png": picture(1), "dog/2.png": picture(2)})
    archive(tmp_path / "test.zip", {"cat/3.png": picture(3), "dog/4.png": picture(4)})
    with pytest.raises(DataError, match="holds 2 classes, 2 training and 2 test images"):
        prepare(spec_of(tmp_path, 3, 2), 8, tmp_path, tmp_path / "out")
    archive(tmp_path / "test.zip", {"cat/3.png": picture(3)})
    with pytest.raises(DataError, match="class 'dog' is in one of train and test only"):
        prepare(spec_of(tmp_path, 2, 1), 8, tmp_path, tmp_path / "out")


def test_public_images_are_read_from_either_and_named_for_prompts(tmp_path: Path) -> None:
    images = {f"{name}/{index}.png": picture(index) for name in ("AnnualCrop", "sea_lake") for index in range(2)}
    for name, content in images.items():
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(content)
    path = archive(tmp_path / "d.zip", images)
    zipped, plain = read_public(path, 8), read_public(tmp_path / "d", 8)
    assert zipped.classes == plain.classes == ("annual crop", "sea lake")
    assert zipped.labels.tolist() == plain.labels.tolist() == [0, 0, 1, 1]
    assert zipped.images.shape == (4, 3, 8, 8)
    assert np.array_equal(zipped.images, plain.images)
    assert [file.read() for file in class_files(path)["sea_lake"]] == [picture(0), picture(1)]
