"""Every kind of picture becomes the pixels that were asked for."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from dpmix.data import decoding
from dpmix.data.images import load
from dpmix.data.sources import prepare
from dpmix.data.splits import stratified_split
from dpmix.errors import DataError
from tests.data.conftest import assert_unfinished, folder_of, picture, save, spec_of


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1"])
def test_every_mode_of_pixels_becomes_the_channels_asked_for(mode: str, channels: int, tmp_path: Path) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    image = picture(0, mode=mode)
    for index in range(2):
        save(image, tmp_path / "in" / "a" / f"{index}.{suffix}")
    prepare(spec_of(tmp_path / "in", 1, 1, 1, channels), 12, tmp_path, tmp_path / "out")
    expected = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(12, 12, channels)
    assert np.array_equal(load(tmp_path / "out").images[0], expected.transpose(2, 0, 1))


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    ramp = np.arange(144, dtype=np.uint16).reshape(12, 12) * 450
    for index in range(2):
        save(Image.fromarray(ramp), tmp_path / "in" / "a" / f"{index}.png")
    prepare(spec_of(tmp_path / "in", 1, 1, 1, 1), 12, tmp_path, tmp_path / "out")
    assert np.array_equal(load(tmp_path / "out").images[0, 0], (ramp >> 8).astype(np.uint8))


def test_a_camera_held_upright_is_obeyed(tmp_path: Path) -> None:
    image = picture(3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    for index in range(2):
        save(image, tmp_path / "in" / "a" / f"{index}.png", exif=exif)
    prepare(spec_of(tmp_path / "in", 1, 1, 1), 12, tmp_path, tmp_path / "out")
    turned = np.asarray(image.transpose(Image.Transpose.ROTATE_270)).transpose(2, 0, 1)
    assert np.array_equal(load(tmp_path / "out").images[0], turned)


@given(
    width=st.integers(1, 60), height=st.integers(1, 60), resolution=st.integers(1, 40), channels=st.sampled_from([1, 3])
)
def test_resize_and_crop_are_torchvisions(width: int, height: int, resolution: int, channels: int) -> None:
    image = picture(width * 61 + height, (width, height))
    expected = image.convert("L" if channels == 1 else "RGB")
    if (width, height) != (resolution, resolution):
        expected = reference.resize(expected, [resolution], interpolation=InterpolationMode.BICUBIC)
        expected = reference.center_crop(expected, [resolution, resolution])
    actual = decoding.fit(image, resolution, channels)
    assert np.array_equal(actual, np.asarray(expected).reshape(resolution, resolution, channels).transpose(2, 0, 1))


def test_real_images_survive_untouched(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "cifar10" / "test.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".webp"))[::400]
        archive.extractall(tmp_path / "zip", names)
    root = tmp_path / "zip" / "test"
    prepare(spec_of(root, 10, 15, 10), 32, tmp_path, tmp_path / "out")
    images = load(tmp_path / "out")
    files = sorted(root.rglob("*.webp"))
    assert (len(images.classes), len(files)) == (10, 25)
    kept, _ = stratified_split(np.asarray([images.classes.index(file.parent.name) for file in files]), 10, "folder")
    for index in (0, 7, 14):
        expected = np.asarray(Image.open(files[kept[index]]).convert("RGB"))
        assert np.array_equal(images.images[index], expected.transpose(2, 0, 1))


def test_a_damaged_image_is_named_and_no_store_is_left(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "in", {"a": 6}, size=(60, 60))
    victim = root / "a" / "003.png"
    victim.write_bytes(victim.read_bytes()[:2000])
    out = tmp_path / "made" / "out"
    with pytest.raises(DataError, match=r"^1 image is damaged: .*a/003\.png cannot be read as an image") as caught:
        prepare(spec_of(root, 1, 4, 2), 12, tmp_path / "raw", out)
    assert "\n" not in str(caught.value)
    assert_unfinished(out)
    victim.write_text("not an image at all")
    with pytest.raises(DataError, match=r"a/003\.png cannot be read as an image"):
        prepare(spec_of(root, 1, 4, 2), 12, tmp_path / "raw", tmp_path / "made" / "out")


def test_thirty_two_bit_pixels_are_refused(tmp_path: Path) -> None:
    for index in range(2):
        save(Image.fromarray(np.zeros((4, 4), dtype=np.float32)), tmp_path / "in" / "a" / f"{index}.tif")
    with pytest.raises(DataError, match=r"\.tif cannot be read as an image \(its pixels have 32 bits"):
        prepare(spec_of(tmp_path / "in", 1, 1, 1), 4, tmp_path, tmp_path / "out")


def test_a_line_of_pixels_is_cut_before_it_is_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    resize = Image.Image.resize

    def seen(image: Image.Image, size: tuple[int, int], *args: Any, **options: Any) -> Image.Image:
        sizes.append(size)
        return resize(image, size, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", seen)
    for size in ((9001, 2), (2, 9001)):
        line = Image.new("RGB", size, (255, 255, 255))
        line.paste((10, 20, 30), (size[0] // 2 - 80, size[1] // 2 - 80, size[0] // 2 + 80, size[1] // 2 + 80))
        pixels = decoding.fit(line, 16, 3)
        assert np.array_equal(pixels, np.broadcast_to(np.array([10, 20, 30])[:, None, None], (3, 16, 16)))
    assert max(map(max, sizes)) <= 64 * 16
