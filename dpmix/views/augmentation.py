"""T, the random transformation of Algorithm 1: K views of each image, made in one batch on the images' device.

The random parameters of every view are drawn from the key (seed, step, example, stream), so that the views of an
example are the same whatever else is in the batch. The transforms themselves are in `dpmix.views.transforms`.

Importing this module loads neither torch nor kornia, so that names can be checked before anything is computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpmix.errors import ParamsError, suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from dpmix.random import KeyedRandom
from dpmix.views.draws import Draws
from dpmix.views.transforms import INDEX_TRANSFORMS, PIXEL_TRANSFORMS, TRANSFORMS


def check_transforms(names: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple.

    Raises:
        ParamsError: if one is not in `TRANSFORMS`, or is given twice.
    """
    for name in names:
        if name not in TRANSFORMS:
            raise ParamsError(f"unknown transform {name!r}; {suggestion(name, sorted(TRANSFORMS))}")
        if list(names).count(name) > 1:
            # Draws are keyed by the transform's name, so that both would draw the same parameters.
            raise ParamsError(f"transform {name!r} is listed twice; list it once")
    return tuple(names)


def augment(
    images: Tensor,
    k: int,
    transforms: Sequence[str],
    random: KeyedRandom,
    stream: str,
    *,
    padding: int,
) -> Tensor:
    """K independent draws of T(x) for each image.

    Transforms that only move pixels (crop, flip) are applied first, in the order listed, by one `gather` for all of
    them; then those that change pixel values, in the order listed.

    Args:
        images: [n, C, H, W], uint8 (scaled to [0, 1]) or floating point in [0, 1]; or [n, K, C, H, W], one image for
            each view, of which each is transformed once.
        k: K, views of each example.
        transforms: names in `TRANSFORMS`. Without any, the image is repeated K times without copying it.
        random: draws keyed by the n examples, in the order of `images`.
        stream: the purpose of these views; draws of different streams are independent.
        padding: of the random crop, in pixels.

    Returns:
        float32 [n, K, C, H, W] in [0, 1], on the device of `images`.

    Raises:
        ParamsError: for an unknown transform, or padding that the images are too small for.
        ValueError: if the shapes of `images`, `k` and `random` disagree.
    """
    import torch

    names = check_transforms(transforms)
    n = len(random.examples)
    if images.dim() not in (4, 5) or len(images) != n or (images.dim() == 5 and images.shape[1] != k):
        raise ValueError(f"expected images [{n}, C, H, W] or [{n}, {k}, C, H, W], not {list(images.shape)}")
    scaled = images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images.to(torch.float32)
    if scaled.dim() == 4:
        scaled = scaled[:, None].expand(-1, k, -1, -1, -1)
    if n * k == 0:
        return scaled
    draws = Draws(random, stream, k, images.device)
    moves = [name for name in names if name in INDEX_TRANSFORMS]
    changes = [name for name in names if name in PIXEL_TRANSFORMS]
    views = _moved(scaled, moves, draws, padding) if moves else scaled
    if not changes:
        return views
    flat = views.flatten(0, 1)
    for name in changes:
        flat = PIXEL_TRANSFORMS[name](flat, draws.within(name))
    return flat.unflatten(0, (n, k))


def _moved(images: Tensor, names: Sequence[str], draws: Draws, padding: int) -> Tensor:
    """Images [n, K, C, H, W] after the named transforms that move pixels, in this order.

    Each transform changes the indices of the rows and columns that a view reads; one `gather` at the end reads them.
    """
    import torch

    n, k, channels, height, width = images.shape
    rows = torch.arange(height, device=images.device).expand(n * k, -1)
    columns = torch.arange(width, device=images.device).expand(n * k, -1)
    for name in names:
        rows, columns = INDEX_TRANSFORMS[name](rows, columns, draws.within(name), padding)
    source = (rows[:, :, None] * width + columns[:, None, :]).view(n, k, 1, height * width)
    # Expanded, neither the images nor the indices are copied K or C times.
    return images.flatten(3).gather(3, source.expand(-1, -1, channels, -1)).unflatten(3, (height, width))
