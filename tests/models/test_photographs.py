"""The public photographs' crops."""

import torch
from sklearn.datasets import load_sample_images

from dpmix.models.photographs import crops


def test_crops_are_the_same_at_each_call_and_differ_from_each_other() -> None:
    first, second = crops(48, 20), crops(48, 20)
    assert first.shape == (20, 3, 48, 48)
    assert first.dtype == torch.float32
    assert torch.equal(first, second)
    assert 0 <= float(first.min()) < 0.2 < 0.8 < float(first.max()) <= 1
    assert len({one.numpy().tobytes() for one in first}) == 20


def test_half_are_of_each_photograph() -> None:
    """The temple stands before a light sky, the flower on a dark ground."""
    bright = crops(32, 200).mean(dim=(1, 2, 3))
    temple, flower = (one.mean() / 255 for one in load_sample_images().images)
    assert temple > flower + 0.1
    assert bright[::2].mean() > bright[1::2].mean() + 0.1


def test_some_are_sharp_and_some_are_enlarged_thumbnails() -> None:
    """The mean difference of neighbouring pixels spans more than a factor of four."""
    detail = crops(128, 60).diff(dim=-1).abs().mean(dim=(1, 2, 3)).sort().values
    assert detail[-5] > 4 * detail[5]
