"""The same picture is found again after compression and scaling, and other pictures of a kind are not."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits

from dpmix.data.decoding import fit
from dpmix.data.listing import read_listing
from dpmix.own.images.duplicates import SIDE, linked, look_alike, one_file
from tests.own.drawn import draw


def photograph(seed: int, side: int = 64) -> Image.Image:
    """A picture with the spectrum of photographs: amplitudes fall as one over the frequency."""
    generator = np.random.default_rng(seed)
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequencies[0, 0] = 1
    spectrum = np.fft.fft2(generator.normal(size=(3, side, side))) / frequencies
    pixels = np.real(np.fft.ifft2(spectrum))
    pixels = 128 + 50 * (pixels - pixels.mean()) / pixels.std()
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def compressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=70)
    return Image.open(buffer)


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    return np.stack([fit(image, SIDE, 3) for image in images])


@pytest.mark.parametrize(
    "change",
    [
        compressed,
        lambda image: image.resize((40, 40), Image.Resampling.BICUBIC),
        lambda image: image.resize((200, 200), Image.Resampling.BILINEAR),
        lambda image: ImageEnhance.Brightness(image).enhance(0.8),
        lambda image: ImageEnhance.Contrast(image).enhance(0.7),
        lambda image: image.copy(),
    ],
    ids=["compressed", "smaller", "larger", "darker", "paler", "the same"],
)
def test_a_changed_picture_is_found_again(change: Callable[[Image.Image], Image.Image]) -> None:
    images = [photograph(seed) for seed in range(40)]
    images += [change(image) for image in images[5:10]]
    assert look_alike(thumbnails(images)) == [(5 + index, 40 + index) for index in range(5)]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.rotate(90),
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: Image.eval(image, lambda level: 255 - level),
    ],
    ids=["turned", "reflected", "negative"],
)
def test_what_the_page_says_is_not_found(change: Callable[[Image.Image], Image.Image]) -> None:
    images = [photograph(seed) for seed in range(20)]
    assert look_alike(thumbnails(images + [change(image) for image in images])) == []


def test_handwritten_digits_are_not_the_same_though_they_are_alike() -> None:
    pixels = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    groups = look_alike(thumbnails([Image.fromarray(one).resize((28, 28)) for one in pixels]))
    assert sum(map(len, groups)) <= 0.05 * len(pixels)


def test_pictures_without_contrast_are_not_compared() -> None:
    flat = [Image.new("RGB", (9, 9), (level, level, level)) for level in (0, 1, 255, 0)]
    assert look_alike(thumbnails(flat)) == []
    assert look_alike(np.empty((0, 3, SIDE, SIDE), dtype=np.uint8)) == []


def test_pairs_across_blocks_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpmix.own.images.duplicates._ROWS_AT_A_TIME", 3)
    images = [photograph(seed) for seed in range(10)]
    found = look_alike(thumbnails([*images, compressed(images[0]), compressed(images[8]), compressed(images[0])]))
    assert found == [(0, 10, 12), (8, 11)]


def test_links_make_groups() -> None:
    assert linked([]) == []
    assert linked([(3, 9), (1, 2), (9, 4), (20, 21)]) == [(1, 2), (3, 4, 9), (20, 21)]


def test_one_file_under_several_names_is_found_by_links_of_all_kinds(tmp_path: Path) -> None:
    mine = draw(tmp_path / "mine", 3)
    (mine / "bile" / "soft.png").symlink_to("0.png")
    os.link(mine / "blood" / "1.png", mine / "water" / "hard.png")
    shutil.copyfile(mine / "blood" / "2.png", mine / "blood" / "copy.png")
    (tmp_path / "all").symlink_to("mine")
    expected = [("bile/0.png", "bile/soft.png"), ("blood/1.png", "water/hard.png")]
    for place in (mine, tmp_path / "all"):
        assert [tuple(image.place for image in group) for group in one_file(read_listing(place))] == expected
    (mine / "again").symlink_to("water", target_is_directory=True)
    assert len(one_file(read_listing(mine))) == 5  # the four of water, of which one is one of blood too
