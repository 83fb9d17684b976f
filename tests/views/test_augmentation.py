"""T: against torchvision with the same parameters, and keyed by example alone.

Long because each transform has a reference of its own.
"""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from torchvision.transforms.v2 import functional as reference

from dpmix.errors import ParamsError
from dpmix.random import KeyedRandom, philox
from dpmix.views import draws as views_draws
from dpmix.views import transforms as views_transforms
from dpmix.views.augmentation import augment, check_transforms
from dpmix.views.draws import Draws
from dpmix.views.transforms import TABLE_4, TRANSFORMS
from tests.needs import GPU, needs

EVERY = sorted(TRANSFORMS)

SIZES = st.sampled_from([7, 16, 33])

SEEDS = st.integers(0, 2**32 - 1)


def images_of(n: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    """Smooth random images, uint8: interpolation errors stay small on them, as on photographs."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return (smooth.clamp(0, 1) * 255).round().to(torch.uint8)


def keyed(n: int, seed: int = 0, step: int = 3) -> KeyedRandom:
    return KeyedRandom(seed, step, np.arange(n) * 7 + 1)


def parameters(random: KeyedRandom, k: int, name: str) -> Draws:
    return Draws(random, "base", k).within(name)


def test_no_transform_repeats_the_image_without_a_copy() -> None:
    images = images_of(3, 3, 8)
    views = augment(images, 5, [], keyed(3), "base", padding=0)
    assert views.shape == (3, 5, 3, 8, 8)
    assert views.dtype == torch.float32
    assert torch.equal(views, (images.float() / 255)[:, None].expand(-1, 5, -1, -1, -1))
    assert views.stride(1) == 0


@pytest.mark.parametrize("transforms", [[], ["crop", "flip"], [*EVERY]])
@pytest.mark.parametrize(("n", "k"), [(0, 4), (3, 0)])
def test_empty_batch(transforms: list[str], n: int, k: int) -> None:
    views = augment(torch.zeros(n, 3, 8, 8, dtype=torch.uint8), k, transforms, keyed(n), "base", padding=2)
    assert views.shape == (n, k, 3, 8, 8)
    assert views.dtype == torch.float32


def test_uint8_and_float_images_give_the_same_views() -> None:
    images = images_of(4, 3, 16)
    for dtype in (torch.float32, torch.float64):
        scaled = images.to(dtype) / 255
        expected = augment(images, 3, ["crop", "jitter"], keyed(4), "base", padding=4)
        actual = augment(scaled, 3, ["crop", "jitter"], keyed(4), "base", padding=4)
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, expected)


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


def test_noise_is_gaussian_and_independent_between_views() -> None:
    grey = torch.full((40, 3, 32, 32), 0.5)
    views = augment(grey, 2, ["noise"], keyed(40), "base", padding=0)
    noise = (views.double() - 0.5) / views_transforms.NOISE_STD
    # Five standard deviations of room to either side of mid-grey: clipping touches next to nothing.
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 1e-3
    flat = noise.flatten(0, 1).flatten(1)
    correlation = torch.corrcoef(flat) - torch.eye(len(flat))
    assert correlation.abs().max() < 6 / math.sqrt(flat.shape[1])


def test_noise_is_made_from_philox(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = torch.tensor([[0, 0], [0xFFFFFFFF, 0x12345678], [0x9E3779B9, 0xFFFFFFFF]])
    for row, words in zip(keys.tolist(), zip(*views_draws._philox(keys, 50), strict=True), strict=True):
        counters = np.zeros((50, 4), dtype=np.uint64)
        counters[:, 0] = np.arange(50)
        expected = philox(counters, (row[0], row[1]))
        assert np.array_equal(torch.stack(words, dim=1).numpy().astype(np.uint64), expected)
    whole = views_draws.standard_normal(keys, 197)
    assert whole.shape == (3, 197)
    monkeypatch.setattr(views_draws, "_NOISE_BLOCKS", 60)
    assert torch.equal(views_draws.standard_normal(keys, 197), whole), "chunks must not change the draws"


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


@pytest.mark.parametrize("name", EVERY)
def test_views_do_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    images, random = images_of(9, 3, 16), keyed(9)
    whole = augment(images, 4, ["crop", name] if name != "crop" else ["crop"], random, "base", padding=2)
    part = [7, 2, 3]
    fewer = KeyedRandom(random.seed, random.step, random.examples[part])
    views = augment(images[part], 4, ["crop", name] if name != "crop" else ["crop"], fewer, "base", padding=2)
    torch.testing.assert_close(views, whole[part], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_transform_keeps_shape_range_and_input(name: str, channels: int) -> None:
    images = torch.rand(5, channels, 12, 12, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    views = augment(images, 3, [name], keyed(5), "base", padding=2)
    assert views.shape == (5, 3, channels, 12, 12)
    assert views.dtype == torch.float32
    assert views.min() >= 0
    assert views.max() <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "sobel"])
def test_views_differ_between_views_steps_streams_and_seeds(name: str) -> None:
    images = images_of(1, 3, 16).expand(6, -1, -1, -1)
    base = augment(images, 4, [name], KeyedRandom(0, 0, range(6)), "base", padding=4)
    assert len(torch.unique(base.flatten(0, 1), dim=0)) > 1
    for random, stream in (
        (KeyedRandom(1, 0, range(6)), "base"),
        (KeyedRandom(0, 1, range(6)), "base"),
        (KeyedRandom(0, 0, range(6)), "other"),
    ):
        assert not torch.equal(augment(images, 4, [name], random, stream, padding=4), base)
    assert torch.equal(augment(images, 4, [name], KeyedRandom(0, 0, range(6)), "base", padding=4), base)


def test_an_image_for_each_view() -> None:
    images = images_of(6, 3, 10).view(2, 3, 3, 10, 10)
    together = augment(images, 3, ["crop", "flip", "jitter"], keyed(2), "diff", padding=2)
    for view in range(3):
        same = augment(images[:, view], 3, ["crop", "flip", "jitter"], keyed(2), "diff", padding=2)
        torch.testing.assert_close(together[:, view], same[:, view], atol=1e-6, rtol=0)


def test_rectangular_images() -> None:
    images = torch.rand(2, 3, 8, 14, generator=torch.Generator().manual_seed(0))
    assert augment(images, 2, EVERY, keyed(2), "base", padding=3).shape == (2, 2, 3, 8, 14)


def test_a_new_transform_needs_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(views_transforms.PIXEL_TRANSFORMS, "invert", lambda views, draws: 1 - views)
    images = images_of(2, 1, 8)
    views = augment(images, 2, ["invert"], keyed(2), "base", padding=0)
    torch.testing.assert_close(views[:, 0], 1 - images.float() / 255)


def test_unknown_repeated_and_unfit_transforms_are_refused() -> None:
    assert check_transforms(["crop", "flip"]) == ("crop", "flip")
    with pytest.raises(ParamsError, match="unknown transform 'cutuot'; did you mean 'cutout'"):
        check_transforms(["crop", "cutuot"])
    with pytest.raises(ParamsError, match="there are affine, all, blur"):
        check_transforms(["zzz"])
    with pytest.raises(ParamsError, match="listed twice"):
        check_transforms(["flip", "crop", "flip"])
    with pytest.raises(ParamsError, match="padding 8 does not fit images of 8 pixels; choose at most 7"):
        augment(images_of(2, 1, 8), 2, ["crop"], keyed(2), "base", padding=8)


def test_disagreeing_shapes_are_refused() -> None:
    for images in (images_of(3, 1, 8), images_of(2, 1, 8)[0], images_of(2, 1, 8)[:, None]):
        with pytest.raises(ValueError, match="expected images"):
            augment(images, 2, [], keyed(2), "base", padding=0)


def test_importing_and_self_aug_load_no_more_than_they_need() -> None:
    code = """
import sys
from dpmix.views.augmentation import check_transforms
check_transforms(["crop", "jitter"])
assert "torch" not in sys.modules and "numpy" not in sys.modules
import torch
from dpmix.views.augmentation import augment
from dpmix.random import KeyedRandom
augment(torch.zeros(1, 3, 8, 8), 2, ["crop", "flip"], KeyedRandom(0, 0, [0]), "base", padding=4)
assert "kornia" not in sys.modules and "torchvision" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@needs(GPU, torch.cuda.is_available())
@pytest.mark.parametrize("name", EVERY)
def test_views_are_the_same_on_the_device(name: str) -> None:
    images, random = images_of(4, 3, 32), keyed(4)
    expected = augment(images, 3, [name], random, "base", padding=4)
    actual = augment(images.cuda(), 3, [name], random, "base", padding=4)
    assert actual.is_cuda
    torch.testing.assert_close(actual.cpu(), expected, atol=2e-4, rtol=0)
