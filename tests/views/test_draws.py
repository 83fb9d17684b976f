import math

import numpy as np
import pytest
import torch
from scipy import stats

from dpmix.random import philox
from dpmix.views import draws as views_draws
from dpmix.views import transforms as views_transforms
from dpmix.views.augmentation import augment
from tests.views.smooth_images import keyed


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
