"""Views are keyed by example alone, keep their range, and are made in one batch."""

import subprocess
import sys

import pytest
import torch

from dpmix.errors import ParamsError
from dpmix.random import KeyedRandom
from dpmix.views.augmentation import augment, check_transforms
from dpmix.views.transforms import TRANSFORMS
from tests.needs import GPU, needs
from tests.views.smooth_images import images_of, keyed

EVERY = sorted(TRANSFORMS)


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


@pytest.mark.parametrize("name", EVERY)
def test_views_do_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    images, random = images_of(9, 3, 16), keyed(9)
    whole = augment(images, 4, ["crop", name] if name != "crop" else ["crop"], random, "base", padding=2)
    part = [7, 2, 3]
    fewer = KeyedRandom(random.seed, 3, random.examples[part])
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
