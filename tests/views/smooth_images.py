"""Smooth random images and keyed draws for the tests of transforms."""

import numpy as np
import torch

from dpmix.random import KeyedRandom


def images_of(n: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    """Smooth random images, uint8: interpolation errors stay small on them, as on photographs."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return (smooth.clamp(0, 1) * 255).round().to(torch.uint8)


def keyed(n: int, seed: int = 0, step: int = 3) -> KeyedRandom:
    return KeyedRandom(seed, step, np.arange(n) * 7 + 1)
