"""Every kind of picture is seen as a person sees it, or refused with a remedy that works; the same by every door."""

import io
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dpmix.data import pixels
from dpmix.data.folders import read_public
from dpmix.data.images import load
from dpmix.data.inspection import inspect
from dpmix.data.sources import prepare
from dpmix.data.tree import Files
from dpmix.errors import DataError
from tests.data.conftest import archive, spec_of

SIDE = 16
# Brightness from the left to the right: dark, grey, light, and dark below.
GREY = np.repeat(np.linspace(0, 255, SIDE, dtype=np.uint8)[None, :], SIDE, axis=0).copy()
GREY[12:] = 40


def tiff(levels: npt.NDArray[np.generic], sample_format: int = 1, photometric: int = 1, orientation: int = 1) -> bytes:
    """A TIFF of one uncompressed band, written by hand: Pillow writes few kinds of pixels."""
    height, width = levels.shape
    bits, data = levels.dtype.itemsize * 8, levels.tobytes()
    entries = [
        (256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 0), (274, orientation),
        (277, 1), (278, height), (279, len(data)), (339, sample_format),
    ]  # fmt: skip
    begin = 8 + 2 + 12 * len(entries) + 4
    table = b"".join(struct.pack("<HHII", tag, 4, 1, begin if tag == 273 else value) for tag, value in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + table + struct.pack("<I", 0) + data


def png(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def grey() -> Image.Image:
    return Image.fromarray(GREY)


def with_alpha(ink: int, mode: str = "RGBA") -> bytes:
    """Ink whose opacity is what `GREY` lacks of white: black ink looks as `GREY`."""
    image = Image.new(mode, (SIDE, SIDE), (ink,) * (len(mode) - 1) + (0,))
    image.putalpha(Image.fromarray(255 - GREY))
    return png(image)


def palette_with_a_hole() -> bytes:
    """Place 0 of the palette is transparent, and would be black if it were not."""
    image = Image.new("P", (SIDE, SIDE), 0)
    image.putpalette([0, 0, 0, 40, 40, 40])
    image.paste(1, (0, 12, SIDE, SIDE))
    return png(image, transparency=0)


def turned(orientation: int, sixteen_bits: bool = False) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(GREY.astype(np.uint16) * 257) if sixteen_bits else grey()
    return png(picture, exif=exif)


def lab() -> bytes:
    return png(Image.new("LAB", (SIDE, SIDE), (200, 128, 128)), "TIFF")


HOLE = np.where(np.arange(SIDE)[:, None] < 12, 255, 40) * np.ones((1, SIDE))
# Each kind: its file's name, its bytes, and the grey levels that a person sees.
SEEN: dict[str, tuple[str, Callable[[], bytes], npt.NDArray[np.generic]]] = {
    "grey": ("1.png", lambda: png(grey()), GREY),
    "CMYK": ("1.tif", lambda: png(grey().convert("CMYK"), "TIFF"), GREY),
    "black ink on transparent": ("1.png", lambda: with_alpha(0), GREY),
    "black ink on transparent, grey": ("1.png", lambda: with_alpha(0, "LA"), GREY),
    "white ink on transparent": ("1.png", lambda: with_alpha(255), 255 - GREY),
    "a palette with a hole": ("1.png", palette_with_a_hole, HOLE),
    "a colour that is not there": ("1.png", lambda: png(Image.new("L", (SIDE, SIDE)), transparency=0), GREY * 0 + 255),
    "16 bits": ("1.png", lambda: png(Image.fromarray(GREY.astype(np.uint16) * 257)), GREY),
    "16 bits, turned": ("1.png", lambda: turned(6, sixteen_bits=True), np.rot90(GREY, -1)),
    "16 bits of a TIFF, turned": ("1.tif", lambda: tiff(GREY.astype("<u2") * 257, orientation=8), np.rot90(GREY)),
    "12 bits in 16": ("1.tif", lambda: tiff(GREY.astype("<u2") * 16), GREY),
    "8 bits in 16": ("1.tif", lambda: tiff(GREY.astype("<u2")), GREY),
    "16 bits where 0 is white": ("1.tif", lambda: tiff((255 - GREY).astype("<u2") * 257, photometric=0), GREY),
    "mirrored": ("1.png", lambda: turned(2), GREY[:, ::-1]),
    "a JPEG called HEIC": ("1.HEIC", lambda: png(grey(), "JPEG", quality=100), GREY),
}  # fmt: skip

LEVELS = GREY.astype("<i4") * 257
REFUSED: dict[str, tuple[str, Callable[[], bytes], str, Callable[[], bytes]]] = {
    "signed": (
        "1.tif",
        lambda: tiff((LEVELS - 1000).astype("<i2"), 2),
        "its 16 bits are signed",
        lambda: tiff(LEVELS.astype("<u2")),
    ),
    "floats": ("1.tif", lambda: tiff(GREY.astype("<f4"), 3), "its pixels have 32 bits", lambda: tiff(GREY)),
    "32 bits": ("1.tif", lambda: tiff(LEVELS, 2), "its pixels have 32 bits", lambda: tiff(LEVELS.astype("<u2"))),
    "too many": ("1.png", lambda: png(Image.new("1", (90, 90))), "it has 8,100 pixels", lambda: png(grey())),
    "CIELAB": ("1.tif", lab, "CIELAB", lambda: png(grey())),
}  # fmt: skip


def by_folder(path: Path, content: Sequence[tuple[str, bytes]]) -> npt.NDArray[np.uint8]:
    for place, data in content:
        (path / "d" / place).parent.mkdir(parents=True, exist_ok=True)
        (path / "d" / place).write_bytes(data)
    return store_of(path / "d", path)


def by_zip(path: Path, content: Sequence[tuple[str, bytes]]) -> npt.NDArray[np.uint8]:
    return store_of(archive(path / "d.zip", content), path)


def store_of(root: Path, path: Path) -> npt.NDArray[np.uint8]:
    prepare(spec_of(root, 2, 2, 2, 1), SIDE, path, path / "store")
    return load(path / "store").images


def by_public_images(path: Path, content: Sequence[tuple[str, bytes]]) -> npt.NDArray[np.uint8]:
    return read_public(archive(path / "d.zip", content), SIDE, channels=1).images


def by_inspection(path: Path, content: Sequence[tuple[str, bytes]]) -> npt.NDArray[np.uint8]:
    """What `check` and `--skip-damaged` see."""
    root = archive(path / "d.zip", content)
    (found,) = inspect(Files(root), [content[0][0]], SIDE)
    if found.thumbnail is None:
        raise DataError(str(found.why))
    return found.thumbnail[None, :1]


DOORS = (by_folder, by_zip, by_public_images, by_inspection)


def laid_out(name: str, data: bytes) -> list[tuple[str, bytes]]:
    return [(f"{split}/{kind}/{name}", data) for split in ("train", "test") for kind in ("cat", "dog")]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", SEEN)
def test_a_picture_is_what_a_person_sees(kind: str, door: Callable[..., npt.NDArray[np.uint8]], tmp_path: Path) -> None:
    name, make, expected = SEEN[kind]
    shown = door(tmp_path, laid_out(name, make()))[0, 0]
    # A JPEG of the best quality, CMYK and mixtures with the paper round once more.
    assert np.abs(shown.astype(int) - expected.astype(int)).max() <= 3


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_shown_is_refused_and_its_remedy_works(
    kind: str, door: Callable[..., npt.NDArray[np.uint8]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "MOST_PIXELS", 90 * 90 - 1)
    name, make, words, mended = REFUSED[kind]
    with pytest.raises(DataError, match=words) as caught:
        door(tmp_path / "before", laid_out(name, make()))
    assert "\n" not in str(caught.value)
    assert door(tmp_path / "after", laid_out(name, mended())).shape[1:] == (1, SIDE, SIDE)


def test_twelve_bits_of_colour_in_sixteen_are_refused() -> None:
    # Pillow writes no RGB of 16 bits; the picture is put together of its chunks.
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def of(levels: npt.NDArray[np.generic]) -> bytes:
        rows = b"".join(b"\0" + np.repeat(row[:, None], 3, axis=1).astype(">u2").tobytes() for row in levels)
        head = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    assert np.array_equal(np.asarray(pixels.read(io.BytesIO(of(GREY.astype(int) * 257))))[..., 0], GREY)
    with pytest.raises(ValueError, match="12 bits in 16"):
        pixels.read(io.BytesIO(of(GREY.astype(int) * 16)))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
def test_a_large_scan_is_made_smaller(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "_LARGE", SIDE * SIDE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIDE * SIDE)
    wide = Image.fromarray(np.repeat(np.repeat(GREY, 2, axis=0), 2, axis=1)).convert(mode)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(png(wide, "TIFF")))
    shown = pixels.read(io.BytesIO(png(wide, "TIFF")))
    assert Image.MAX_IMAGE_PIXELS == SIDE * SIDE
    assert shown.size == (SIDE, SIDE)
    expected = np.asarray(wide.convert("L"))[::2, ::2].astype(int)
    assert np.abs(np.asarray(shown.convert("L")).astype(int) - expected).max() <= 3
