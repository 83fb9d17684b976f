"""Zip archives of class folders: what is listed, in which order, and what is refused."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix.data import zips
from dpmix.data.folders import class_files, pool_of_folder, read_public
from dpmix.data.images import load
from dpmix.data.sources import prepare
from dpmix.errors import DataError
from dpmix.params.specs import DatasetSpec
from tests.data.conftest import archive


def picture(seed: int, kind: str = "PNG", side: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, lossless=True)
    return buffer.getvalue()


def spec_of(path: Path, train: int, test: int, classes: int = 2) -> DatasetSpec:
    return DatasetSpec(
        name="mine", label="Mine", source="folder", classes=classes, train=train, test=test, path=str(path)
    )


def names(root: Path) -> dict[str, list[str]]:
    return {name: [file.path.name for file in files] for name, files in class_files(root).items()}


def test_class_folders_of_several_archives_are_laid_together_and_sorted(tmp_path: Path) -> None:
    archive(tmp_path / "train-0.zip", {"train/dog/2.png": b"", "train/cat/9.png": b"", "train/": b""})
    archive(
        tmp_path / "train-1.zip", {"train/cat/1.png": b"", "__MACOSX/train/cat/._1.png": b"", "train/.x/1.png": b""}
    )
    archive(tmp_path / "test.zip", {"test/cat/5.png": b"", "test/dog/sub/6.png": b"", "test/Thumbs.db": b""})
    assert names(tmp_path) == {"cat": ["1.png", "9.png"], "dog": ["2.png"]}
    pool = pool_of_folder(tmp_path, 2)
    assert pool.classes == ("cat", "dog")
    assert {split: part.labels.tolist() for split, part in pool.parts.items()} == {"train": [0, 0, 1], "test": [0, 1]}


@pytest.mark.parametrize("prefix", ["", "set/", "a/b/"])
def test_folders_that_all_images_share_name_no_class(tmp_path: Path, prefix: str) -> None:
    path = archive(tmp_path / "d.zip", {f"{prefix}cat/1.png": b"", f"{prefix}dog/1.png": b""})
    assert names(path) == {"cat": ["1.png"], "dog": ["1.png"]}


def test_one_class_is_a_class(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.zip", {"set/cat/1.png": b"", "set/cat/2.png": b""})
    assert names(path) == {"cat": ["1.png", "2.png"]}


def test_both_splits_in_one_archive(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.zip", {"d/train/cat/1.png": b"", "d/test/cat/2.png": b"", "d/train/dog/3.png": b""})
    assert names(path) == {"cat": ["1.png"], "dog": ["3.png"]}
    assert pool_of_folder(path, 1).parts["test"].labels.tolist() == [0]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"cat/1.png": b"", "cat/notes.txt": b""}, "notes.txt is not an image"),
        ({"1.png": b"", "2.png": b""}, r"holds no image in a class folder; 1.png is in no class folder; put"),
        ({".hidden/1.png": b""}, "holds no image"),
    ],
)
def test_what_is_no_class_folder_is_one_line(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    path = archive(tmp_path / "d.zip", members)
    with pytest.raises(DataError, match=words) as caught:
        class_files(path)
    assert "\n" not in str(caught.value)


def test_an_image_in_two_archives_is_refused(tmp_path: Path) -> None:
    for number in (0, 1):
        archive(tmp_path / f"train-{number}.zip", {"cat/1.png": b""})
    archive(tmp_path / "test.zip", {"cat/1.png": b""})
    with pytest.raises(DataError, match=r"train-1.zip/cat/1.png is there twice, also as .*train-0.zip/cat/1.png; keep"):
        class_files(tmp_path)


def test_one_split_without_the_other_is_refused(tmp_path: Path) -> None:
    archive(tmp_path / "train-0.zip", {"cat/1.png": b""})
    with pytest.raises(DataError, match=r"no archive test\*.zip"):
        class_files(tmp_path)


def test_damage_encryption_and_bombs_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.zip"
    with pytest.raises(DataError, match="cannot be read"):
        zips.members(path)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a whole zip archive"):
        zips.members(path)
    content = b"content of a file that is stored as it is"
    archive(path, {"cat/1.png": content})
    ((_, file),) = zips.members(path)
    zips.refuse_unreadable(file)
    with monkeypatch.context() as patched:
        patched.setattr(zips, "LARGEST_IMAGE", len(content) - 1)
        with pytest.raises(DataError, match="too many for an image"):
            zips.refuse_unreadable(file)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(content, content[::-1]))
    ((_, file),) = zips.members(path)
    with pytest.raises(DataError, match=r"d.zip/cat/1.png cannot be read \(Bad CRC"):
        file.read()
    flagged = bytearray(whole)
    flagged[whole.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(flagged)
    ((_, file),) = zips.members(path)
    assert file.begins(4) == b""
    with pytest.raises(DataError, match="is encrypted"):
        zips.refuse_unreadable(file)


def test_names_that_climb_out_are_no_paths(tmp_path: Path) -> None:
    outside = {"../../cat/1.png": picture(1), "/dog/1.png": picture(2), "..\\owl\\1.png": picture(3)}
    path = archive(tmp_path / "d.zip", outside)
    assert names(path) == {"dog": ["1.png"]}


def named(path: Path, raw: bytes, extra: bytes = b"") -> Path:
    """An archive with the member `<raw>/1.png`, whose bytes are written as they are, and not said to be UTF-8."""
    stands_for = "n" * len(raw)
    with zipfile.ZipFile(path, "w") as file:
        info = zipfile.ZipInfo(f"{stands_for}/1.png")
        info.extra = extra
        file.writestr(info, picture(1))
    path.write_bytes(path.read_bytes().replace(stands_for.encode(), raw))
    return path


def test_names_in_utf8_are_read_whether_the_archive_says_so_or_not(tmp_path: Path) -> None:
    archive(tmp_path / "said.zip", {"Grün/1.png": picture(1)})
    named(tmp_path / "unsaid.zip", "Grün".encode())
    raw = "Grün/1.png".encode("cp850")
    field = b"\1" + struct.pack("<L", zlib.crc32(raw)) + "Grün/1.png".encode()
    named(tmp_path / "beside.zip", "Grün".encode("cp850"), struct.pack("<HH", 0x7075, len(field)) + field)
    for name in ("said", "unsaid", "beside"):
        ((place, file),) = zips.members(tmp_path / f"{name}.zip")
        assert str(place) == "Grün/1.png"
        assert file.read() == picture(1)


@pytest.mark.parametrize("code_page", ["cp437", "cp850", "cp1252", "shift_jis"])
def test_names_in_an_unknown_code_page_are_refused(code_page: str, tmp_path: Path) -> None:
    path = named(tmp_path / "d.zip", ("ソフト" if code_page == "shift_jis" else "Grün").encode(code_page))
    with pytest.raises(DataError, match=r"letters that cannot be printed, or is not in UTF-8.*pack it anew") as caught:
        class_files(path)
    assert str(caught.value).isprintable()
    packed = archive(tmp_path / "e.zip", {"Grün/1.png": picture(1)})
    assert list(class_files(packed)) == ["Grün"]


def test_names_that_are_said_to_be_utf8_and_are_not_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.zip", {"Grün/1.png": b""})
    path.write_bytes(path.read_bytes().replace("ü".encode(), b"\xff\xfe"))
    with pytest.raises(DataError, match="is not a whole zip archive"):
        zips.members(path)


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


def test_sizes_that_differ_and_classes_without_training_images_are_refused(tmp_path: Path) -> None:
    archive(tmp_path / "train.zip", {"cat/1.png": picture(1), "dog/2.png": picture(2)})
    archive(tmp_path / "test.zip", {"cat/3.png": picture(3), "dog/4.png": picture(4)})
    with pytest.raises(DataError, match="holds 2 classes, 2 training and 2 test images"):
        prepare(spec_of(tmp_path, 3, 2), 8, tmp_path, tmp_path / "out")
    archive(tmp_path / "train.zip", {"cat/3.png": picture(3)})
    with pytest.raises(DataError, match="class 'dog' has no training image"):
        prepare(spec_of(tmp_path, 1, 2), 8, tmp_path, tmp_path / "out")


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
