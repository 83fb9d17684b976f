"""Crops of two public photographs, from whose features `standardize: encoder` learns what to subtract and divide by.

They are scikit-learn's sample images, a temple and a flower, and come with its package: no download, and no image that
anybody gives. Crops differ in place, in size and in how much detail is left, as private images may: a thumbnail that is
enlarged is blurred.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

CROPS = 256
_SMALLEST = 32  # pixels: of a crop, and of what is left of it before it is enlarged


def crops(side: int, count: int = CROPS) -> "Tensor":
    """Draw crops of both photographs, the same at each call.

    A crop's side is drawn log-uniformly between 32 px and the photographs' height (427 px), then that to which it is
    first reduced between 32 px and its own or `side`; half are mirrored.

    Args:
        side: R, of the crops that are returned, in pixels.
        count: m, how many.

    Returns:
        float32 [m, 3, R, R] in [0, 1].
    """
    import torch
    from sklearn.datasets import load_sample_images

    photographs = [torch.from_numpy(np.array(one)).permute(2, 0, 1) / 255 for one in load_sample_images().images]
    draws = np.random.default_rng(0)
    return torch.cat([_crop(photographs[index % len(photographs)], side, draws) for index in range(count)])


def _crop(photograph: "Tensor", side: int, draws: np.random.Generator) -> "Tensor":
    """One crop, float32 [1, 3, side, side]."""
    height, width = photograph.shape[1:]
    size = _log_uniform(draws, min(height, width))
    top, left = draws.integers(height - size, endpoint=True), draws.integers(width - size, endpoint=True)
    crop = photograph[None, :, top : top + size, left : left + size]
    if draws.random() < 0.5:
        crop = crop.flip(-1)
    return _resized(_resized(crop, _log_uniform(draws, min(size, side))), side)


def _log_uniform(draws: np.random.Generator, most: int) -> int:
    return most if most <= _SMALLEST else int(_SMALLEST * (most / _SMALLEST) ** draws.random())


def _resized(images: "Tensor", side: int) -> "Tensor":
    from torch.nn.functional import interpolate

    size = (side, side)
    return interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
