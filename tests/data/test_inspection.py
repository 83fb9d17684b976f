"""Damaged files are all found at once; every kind of picture that Pillow reads is whole."""

import hashlib
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix.data import zips
from dpmix.data.folders import part_of_files
from dpmix.data.inspection import damaged, damaged_in, inspect, refuse_damaged
from dpmix.data.tree import Files, Skipped
from dpmix.errors import DataError
from tests.data.conftest import archive, picture, save


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((9, 9), 40000, dtype=np.uint16)).save(path)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1, (20, 10)).save(path, exif=exif)


def animated(path: Path) -> None:
    frames = [picture(seed).convert("P") for seed in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


KINDS: dict[str, Callable[[Path], object]] = {
    "grey.png": lambda path: picture(1, mode="L").save(path),
    "one-bit.png": lambda path: picture(1, mode="1").save(path),
    "transparent.png": lambda path: picture(1, mode="RGBA").save(path),
    "grey-transparent.png": lambda path: picture(1, mode="LA").save(path),
    "palette.gif": lambda path: picture(1).convert("P").save(path),
    "cmyk.jpg": lambda path: picture(1).convert("CMYK").save(path),
    "16-bit.png": sixteen_bits,
    "16-bit.tif": sixteen_bits,
    "16-bit.pgm": lambda path: path.write_bytes(b"P5 2 1 65535\n\x9c\x40\x9c\x40"),
    "turned.jpg": turned,
    "animated.gif": animated,
    "animated.webp": animated,
    "one pixel.png": lambda path: picture(1, (1, 1)).save(path),
    "a line of pixels.png": lambda path: Image.new("RGB", (60000, 1), (9, 9, 9)).save(path),
    "wide.png": lambda path: picture(1, (300, 5)).save(path),
    "large.png": lambda path: Image.new("L", (6000, 5000)).save(path),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_picture_is_whole(name: str, tmp_path: Path) -> None:
    KINDS[name](tmp_path / name)
    (found,) = inspect(Files(tmp_path), [name], side=8)
    assert found.why is None
    assert found.digest == hashlib.sha256((tmp_path / name).read_bytes()).digest()
    assert found.thumbnail is not None
    assert found.thumbnail.shape == (3, 8, 8)
    if name.startswith("16-bit"):
        assert set(found.thumbnail.ravel().tolist()) == {40000 >> 8}


def bomb(path: Path, side: int) -> None:
    """A small file whose header says that it is a picture of `side` pixels a side."""
    content = bytearray(save(picture(1), path).read_bytes())
    content[16:24] = struct.pack(">2I", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("a text"), "it is in no format that Pillow reads"),
        (lambda path: path.touch(), "it is in no format that Pillow reads"),
        (lambda path: path.write_bytes(save(picture(1), path).read_bytes()[:120]), "cannot be read as an image"),
        (lambda path: bomb(path, 20000), "it has 400,000,000 pixels, above the limit"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: None, "cannot be read"),
    ],
    ids=["text", "empty", "cut off", "a bomb", "a folder", "gone"],
)
def test_what_is_damaged_is_said(make: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    make(tmp_path / "1.png")
    (found,) = damaged(Files(tmp_path), ["1.png"])
    assert found.place == "1.png"
    assert words in found.why
    assert "\n" not in found.why
    assert "0x" not in found.why
    with pytest.raises(
        DataError, match=r"1 image is damaged: 1\.png cannot .*\); replace or remove it, or .* by `skip_damaged=True`$"
    ):
        refuse_damaged([found])


def test_order_is_kept_and_archives_are_read(tmp_path: Path) -> None:
    files = [save(picture(seed), tmp_path / f"{seed}.png") for seed in range(600)]
    path = archive(tmp_path / "d.zip", {file.name: file.read_bytes() for file in files})
    names = [file.name for file in files][::-1]
    digests = [hashlib.sha256((tmp_path / name).read_bytes()).digest() for name in names]
    assert [one.digest for one in inspect(Files(tmp_path), names)] == digests
    assert [one.digest for one in inspect(Files(path), names)] == digests


def test_many_are_named_in_one_line() -> None:
    refuse_damaged([])
    found = [Skipped(str(number), "is cut off") for number in range(53)]
    with pytest.raises(DataError, match=r"^3 images are damaged: 0 is cut off, 1 is cut off, 2 is cut off; replace or"):
        refuse_damaged(found[:3], leave_out="")
    with pytest.raises(
        DataError, match=r"^53 images are damaged: 0 .*, 49 is cut off and 3 more; replace or remove them$"
    ):
        refuse_damaged(found, leave_out="")


def test_a_part_is_searched_whole(tmp_path: Path) -> None:
    files = [save(picture(seed), tmp_path / f"{seed}.png") for seed in range(5)]
    files[1].write_bytes(b"none")
    files[4].unlink()
    found = damaged_in(part_of_files([zips.File(file) for file in files], np.zeros(5)))
    assert [Path(one.place).name for one in found] == ["1.png", "4.png"]
    assert all(one.why.startswith("cannot be read") for one in found)
    assert damaged_in(part_of_files([zips.File(files[0])], np.zeros(1))) == ()
