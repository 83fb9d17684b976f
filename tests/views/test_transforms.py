"""Each transform against torchvision, SciPy or a plain loop, with the same parameters."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from torchvision.transforms.v2 import functional as reference

from dpmix.random import KeyedRandom
from dpmix.views import transforms as views_transforms
from dpmix.views.augmentation import augment
from dpmix.views.draws import Draws
from dpmix.views.transforms import TABLE_4
from tests.views.smooth_images import images_of, keyed

SIZES = st.sampled_from([7, 16, 33])

SEEDS = st.integers(0, 2**32 - 1)


def parameters(random: KeyedRandom, k: int, name: str) -> Draws:
    return Draws(random, "base", k).within(name)


@settings(max_examples=25)
@given(size=SIZES, padding=st.integers(0, 6), channels=st.sampled_from([1, 3]), seed=SEEDS)
def test_crop_and_flip_are_torchvisions(size: int, padding: int, channels: int, seed: int) -> None:
    images, random, k = images_of(3, channels, size, seed % 100), keyed(3, seed), 4
    views = augment(images, k, ["crop", "flip"], random, "base", padding=padding)
    offsets = parameters(random, k, "crop").integers("offset", 2 * padding + 1, 2).view(3, k, 2)
    flips = (parameters(random, k, "flip").uniform("flip", 0, 1) < 0.5).view(3, k)
    for i in range(3):
        padded = reference.pad(images[i].float() / 255, [padding] * 4, padding_mode="reflect")
        for j in range(k):
            top, left = offsets[i, j].tolist()
            expected = reference.crop(padded, top, left, size, size)
            expected = reference.horizontal_flip(expected) if flips[i, j] else expected
            assert torch.equal(views[i, j], expected)


def test_crop_after_flip_is_torchvisions_too() -> None:
    images, random, k, padding = images_of(3, 3, 9), keyed(3), 6, 3
    views = augment(images, k, ["flip", "crop"], random, "base", padding=padding)
    offsets = parameters(random, k, "crop").integers("offset", 2 * padding + 1, 2).view(3, k, 2)
    flips = (parameters(random, k, "flip").uniform("flip", 0, 1) < 0.5).view(3, k)
    assert flips.any()
    for i in range(3):
        for j in range(k):
            image = images[i].float() / 255
            image = reference.horizontal_flip(image) if flips[i, j] else image
            image = reference.pad(image, [padding] * 4, padding_mode="reflect")
            assert torch.equal(views[i, j], reference.crop(image, *offsets[i, j].tolist(), 9, 9))


def test_crop_offsets_and_flips_are_uniform() -> None:
    random = KeyedRandom(1, 2, np.arange(3000))
    ramp = torch.arange(16.0).view(1, 1, 1, 16).expand(3000, 1, 16, 16) / 16
    views = augment(ramp, 2, ["crop"], random, "base", padding=1)
    # Column 8 of a ramp shows the offset itself.
    counts = np.bincount((views[:, :, 0, 8, 8] * 16).long().flatten().numpy() - 7, minlength=3)
    assert stats.chisquare(counts).pvalue > 1e-3
    flipped = augment(ramp, 2, ["flip"], random, "base", padding=0)[:, :, 0, 0, 0] > 0.5
    assert stats.binomtest(int(flipped.sum()), 6000, 0.5).pvalue > 1e-3


@settings(max_examples=15)
@given(size=SIZES, channels=st.sampled_from([1, 3]), seed=SEEDS)
def test_jitter_is_torchvisions(size: int, channels: int, seed: int) -> None:
    images, random, k = images_of(2, channels, size, seed % 100), keyed(2, seed), 3
    views = augment(images, k, ["jitter"], random, "base", padding=0)
    draws = parameters(random, k, "jitter")
    factors = draws.uniform("factor", 0.6, 1.4, 4)
    hues = draws.uniform("hue", -0.1, 0.1)
    order = draws.uniform("order", 0, 1, 4).argsort(dim=1)
    for row in range(2 * k):
        expected = images[row // k].float() / 255
        for step in order[row].tolist():
            if step == 0:
                expected = reference.adjust_brightness(expected, float(factors[row, 0]))
            elif step == 1:
                expected = reference.adjust_contrast(expected, float(factors[row, 1]))
            elif step == 2:
                expected = reference.adjust_saturation(expected, float(factors[row, 2]))
            elif channels == 3:
                expected = reference.adjust_hue(expected, float(hues[row]))
        # torchvision rounds the weights of grey to four digits.
        torch.testing.assert_close(views[row // k, row % k], expected, atol=1e-3, rtol=0)


@settings(max_examples=15)
@given(size=SIZES, channels=st.sampled_from([1, 3]), seed=SEEDS)
def test_affine_is_torchvisions(size: int, channels: int, seed: int) -> None:
    images, random, k = images_of(2, channels, size, seed % 100), keyed(2, seed), 3
    views = augment(images, k, ["affine"], random, "base", padding=0)
    draws = parameters(random, k, "affine")
    angles = draws.uniform("angle", -30, 30)
    shifts = draws.uniform("shift", -0.1, 0.1, 2) * size
    for row in range(2 * k):
        expected = reference.affine(
            images[row // k].float() / 255,
            angle=-float(angles[row]),  # kornia counts anticlockwise, torchvision clockwise
            translate=shifts[row].tolist(),
            scale=1.0,
            shear=[0.0, 0.0],
            interpolation=reference.InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(views[row // k, row % k], expected, atol=1e-3, rtol=0)


@settings(max_examples=15)
@given(size=SIZES, channels=st.sampled_from([1, 3]), seed=SEEDS)
def test_cutout_is_torchvisions(size: int, channels: int, seed: int) -> None:
    images, random, k = images_of(2, channels, size, seed % 100), keyed(2, seed), 3
    views = augment(images, k, ["cutout"], random, "base", padding=0)
    draws = parameters(random, k, "cutout")
    side = round(size / 2)
    for row in range(2 * k):
        top, left = (int(draws.integers(name, size)[row]) - side // 2 for name in ("row", "column"))
        inside = [max(top, 0), max(left, 0), min(top + side, size), min(left + side, size)]
        expected = reference.erase(
            images[row // k].float() / 255,
            inside[0],
            inside[1],
            inside[2] - inside[0],
            inside[3] - inside[1],
            torch.tensor(0.5),
        )
        assert torch.equal(views[row // k, row % k], expected)


@pytest.mark.parametrize(("size", "kernel"), [(7, 3), (16, 3), (32, 3), (64, 7), (224, 23)])
def test_blur_is_torchvisions(size: int, kernel: int) -> None:
    images, random, k = images_of(2, 3, size), keyed(2), 2
    views = augment(images, k, ["blur"], random, "base", padding=0)
    sigmas = parameters(random, k, "blur").uniform("sigma", 0.1, 2.0)
    for row in range(2 * k):
        expected = reference.gaussian_blur(images[row // k].float() / 255, [kernel] * 2, [float(sigmas[row])] * 2)
        torch.testing.assert_close(views[row // k, row % k], expected, atol=1e-5, rtol=0)


@settings(max_examples=20)
@given(names=st.permutations(["crop", "flip", "cutout", "blur"]), size=SIZES, seed=SEEDS)
def test_a_chain_is_torchvisions_one_image_at_a_time(names: list[str], size: int, seed: int) -> None:
    """Moves in the order listed, then changes in the order listed, each view with its own parameters."""
    images, random, k, padding = images_of(2, 3, size, seed % 100), keyed(2, seed), 2, 3
    views = augment(images, k, names, random, "base", padding=padding)
    offsets = parameters(random, k, "crop").integers("offset", 2 * padding + 1, 2).tolist()
    flips = (parameters(random, k, "flip").uniform("flip", 0, 1) < 0.5).tolist()
    centres = [parameters(random, k, "cutout").integers(name, size).tolist() for name in ("row", "column")]
    sigmas = parameters(random, k, "blur").uniform("sigma", 0.1, 2.0).tolist()
    side = round(size / 2)
    for row in range(2 * k):
        top, left = (max(centre[row] - side // 2, 0) for centre in centres)
        bottom, right = (min(centre[row] - side // 2 + side, size) for centre in centres)

        def crop(image: torch.Tensor, row: int = row) -> torch.Tensor:
            padded = reference.pad(image, [padding] * 4, padding_mode="reflect")
            return reference.crop(padded, *offsets[row], size, size)

        one = {
            "crop": crop,
            "flip": lambda image, row=row: reference.horizontal_flip(image) if flips[row] else image,
            "cutout": lambda image, at=(top, left, bottom - top, right - left): reference.erase(
                image, *at, torch.tensor(0.5)
            ),
            "blur": lambda image, row=row: reference.gaussian_blur(image, [3, 3], [sigmas[row]] * 2),
        }
        expected = images[row // k].float() / 255
        for name in sorted(names, key=["crop", "flip"].__contains__, reverse=True):
            expected = one[name](expected)
        torch.testing.assert_close(views[row // k, row % k], expected, atol=1e-5, rtol=0)


@settings(max_examples=10)
@given(seed=SEEDS)
def test_all_is_the_chosen_extra_with_the_same_parameters(seed: int) -> None:
    images, random, k = images_of(3, 3, 16, seed % 100), keyed(3, seed), 4
    views = augment(images, k, ["all"], random, "base", padding=0).flatten(0, 1)
    draws = parameters(random, k, "all")
    choices = draws.integers("choice", len(TABLE_4)).tolist()
    assert len(choices) == len(views) == 3 * k
    for row, choice in enumerate(choices):
        name = TABLE_4[choice]
        alone = views_transforms.PIXEL_TRANSFORMS[name](
            images[row // k][None].float() / 255, draws.take(torch.tensor([row])).within(name)
        )
        torch.testing.assert_close(views[row], alone[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_sobel_is_scipys(channels: int) -> None:
    images = images_of(2, channels, 17)
    views = augment(images, 2, ["sobel"], keyed(2), "base", padding=0)
    planes = images.flatten(0, 1).numpy().astype(np.float64) / 255
    # One plane at a time: scipy smooths along every other axis of what it is given.
    gradients = [[ndimage.sobel(plane, axis=axis, mode="nearest") / 8 for axis in (0, 1)] for plane in planes]
    expected = np.stack([np.hypot(*pair) for pair in gradients]).reshape(images.shape)
    for view in range(2):
        np.testing.assert_allclose(views[:, view].numpy(), expected, atol=2e-3)


def test_all_takes_one_extra_for_each_view(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    for mark, name in enumerate(TABLE_4):

        def stub(views: torch.Tensor, draws: Draws, mark: int = mark, name: str = name) -> torch.Tensor:
            seen.append(name)
            assert len(views) == len(draws) == len(draws.uniform("x", 0, 1))
            return torch.full_like(views, (mark + 1) / 10)

        monkeypatch.setitem(views_transforms.PIXEL_TRANSFORMS, name, stub)
    views = augment(images_of(600, 1, 4), 2, ["all"], keyed(600), "base", padding=0)
    assert sorted(seen) == sorted(TABLE_4)
    flat = views.flatten(2)
    assert torch.equal(flat.amin(2), flat.amax(2))
    counts = np.bincount((flat[..., 0] * 10).round().long().flatten().numpy(), minlength=7)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-3


def test_a_new_transform_needs_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(views_transforms.PIXEL_TRANSFORMS, "invert", lambda views, draws: 1 - views)
    images = images_of(2, 1, 8)
    views = augment(images, 2, ["invert"], keyed(2), "base", padding=0)
    torch.testing.assert_close(views[:, 0], 1 - images.float() / 255)
