"""T, the random transformation of Algorithm 1: K views of each image, made in one batch on the images' device.

Every view has its own parameters, drawn from a key (seed, step, example, stream), so the views of an example are the
same whatever else is in the batch. To add a transform, write a function and put it into `INDEX_TRANSFORMS` (it moves
pixels) or `PIXEL_TRANSFORMS` (it changes them); its name can then be used in `params.yaml`.

De et al. (2022) crop and flip ("Self-Aug"). Table 4 of the DP-Mix paper adds, one at a time, transforms after Chen et
al. (2020, SimCLR), whose strengths it does not print. Colour jitter and blur take the numbers of SimCLR's appendix;
SimCLR gives none for the others, so those below are this package's choice.

Importing this module loads neither torch nor kornia, so that names can be checked before anything is computed.
"""

from __future__ import annotations

import difflib
import math
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dpmix.errors import ParamsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dpmix.random import KeyedRandom

FLIP_PROBABILITY = 0.5

# SimCLR's colour distortion without the grey-scale drop: factors 1 +- 0.8 s and hue shifts of +- 0.2 s of the circle.
# s = 0.5 is what it uses on CIFAR-10, the kind of data in Table 4.
JITTER_STRENGTH = 0.5
JITTER_FACTOR = 0.8 * JITTER_STRENGTH
JITTER_HUE = 0.2 * JITTER_STRENGTH

# SimCLR's blur: a kernel a tenth as wide as the image, its sigma in pixels. Below 3 pixels a kernel would do nothing.
BLUR_SIGMA = (0.1, 2.0)
BLUR_KERNEL = 0.1
BLUR_SMALLEST_KERNEL = 3

AFFINE_DEGREES = 30.0
AFFINE_TRANSLATION = 0.1
# DeVries and Taylor's square on CIFAR-10: half the side. They fill with 0 after normalising, which is near mid-grey.
CUTOUT_SIDE = 0.5
CUTOUT_FILL = 0.5
NOISE_STD = 0.1

# Philox blocks (four numbers each) of pixel noise made at a time, which bounds the memory of its 64-bit intermediates.
_NOISE_BLOCKS = 1 << 20


class Draws:
    """The random parameters of m views, one row for each view.

    Args:
        random: keyed draws for the n examples.
        stream: the purpose of the views; different streams are independent.
        views: K, views of each example; row i K + j belongs to view j of example i.
        device: where the parameters are put. They are made on the CPU, so they are the same on every device.
        rows: int64 [m], keep only these rows; None keeps all n K.
    """

    def __init__(
        self,
        random: KeyedRandom,
        stream: str,
        views: int,
        device: torch.device | str = "cpu",
        rows: Tensor | None = None,
    ) -> None:
        self._random, self._stream, self._views, self._device, self._rows = random, stream, views, device, rows

    def __len__(self) -> int:
        return len(self._random.examples) * self._views if self._rows is None else len(self._rows)

    def within(self, name: str) -> Draws:
        """Draws for the same views that are independent of these, keyed by `name`."""
        return Draws(self._random, f"{self._stream}/{name}", self._views, self._device, self._rows)

    def take(self, rows: Tensor) -> Draws:
        """Draws for the views `rows`, int64 [m'], only; each view gets what it gets here."""
        rows = rows.cpu()
        kept = rows if self._rows is None else self._rows[rows]
        return Draws(self._random, self._stream, self._views, self._device, kept)

    def uniform(self, name: str, low: float, high: float, *shape: int) -> Tensor:
        """Uniform on (low, high), float32 [m, *shape]."""
        import torch

        drawn = torch.from_numpy(self._random.uniform(f"{self._stream}/{name}", self._views, *shape))
        return self._placed((low + (high - low) * drawn).float())

    def integers(self, name: str, high: int, *shape: int) -> Tensor:
        """Uniform integers in [0, high), int64 [m, *shape]."""
        import torch

        drawn = self._random.integers(f"{self._stream}/{name}", high, self._views, *shape)
        return self._placed(torch.from_numpy(drawn))

    def words(self, name: str, *shape: int) -> Tensor:
        """Uniform 32-bit words, int64 [m, *shape] in [0, 2**32)."""
        import numpy as np
        import torch

        drawn = self._random.words(f"{self._stream}/{name}", self._views, *shape)
        return self._placed(torch.from_numpy(drawn.astype(np.int64)))

    def _placed(self, drawn: Tensor) -> Tensor:
        drawn = drawn.flatten(0, 1)
        return (drawn if self._rows is None else drawn[self._rows]).to(self._device)


IndexTransform = Callable[["Tensor", "Tensor", Draws, int], "tuple[Tensor, Tensor]"]
PixelTransform = Callable[["Tensor", Draws], "Tensor"]


def check_transforms(names: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple, if each is in `TRANSFORMS` and none is given twice; else a `ParamsError`."""
    for name in names:
        if name not in TRANSFORMS:
            close = difflib.get_close_matches(name, TRANSFORMS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(TRANSFORMS))}"
            raise ParamsError(f"unknown transform {name!r}; {hint}")
        if list(names).count(name) > 1:
            # Both would draw the same parameters, which is never what is meant.
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

    Transforms that move pixels come first, in the order listed, and are done together in one gather; then those that
    change pixels, in the order listed.

    Args:
        images: [n, C, H, W], uint8 (scaled to [0, 1]) or floating point in [0, 1]; or [n, K, C, H, W], one image for
            each view, of which each is transformed once.
        k: K, views of each example.
        transforms: names in `TRANSFORMS`; none repeats the image K times (a view on the same memory).
        random: draws keyed by the n examples, in the order of `images`.
        stream: the purpose of these views; streams are independent of each other.
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
    """Images [n, K, C, H, W] after transforms that move pixels, the names in their order.

    Each transform changes which rows and columns a view reads from; one gather at the end reads them all.
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


def _crop(rows: Tensor, columns: Tensor, draws: Draws, padding: int) -> tuple[Tensor, Tensor]:
    """Pad by reflection (without repeating the edge), then crop to the old size at a uniform offset."""
    import torch

    offsets = draws.integers("offset", 2 * padding + 1, 2) - padding

    def shifted(source: Tensor, offset: Tensor) -> Tensor:
        size = source.shape[1]
        if padding >= size:
            raise ParamsError(f"padding {padding} does not fit images of {size} pixels; choose at most {size - 1}")
        at = (torch.arange(size, device=source.device) + offset[:, None]).abs()
        return source.gather(1, (size - 1) - ((size - 1) - at).abs())

    return shifted(rows, offsets[:, 0]), shifted(columns, offsets[:, 1])


def _flip(rows: Tensor, columns: Tensor, draws: Draws, padding: int) -> tuple[Tensor, Tensor]:
    """Mirror left and right with probability `FLIP_PROBABILITY`."""
    flipped = draws.uniform("flip", 0, 1) < FLIP_PROBABILITY
    return rows, columns.flip(1).where(flipped[:, None], columns)


def _jitter(views: Tensor, draws: Draws) -> Tensor:
    """Change brightness, contrast, saturation and hue, each by a random amount, in an order that each view draws.

    Grey images have neither saturation nor hue: only brightness and contrast change.
    """
    from kornia.enhance import (
        adjust_brightness_accumulative,
        adjust_contrast_with_mean_subtraction,
        adjust_hue,
        adjust_saturation_with_gray_subtraction,
    )

    adjustments = [adjust_brightness_accumulative, adjust_contrast_with_mean_subtraction]
    if views.shape[1] == 3:
        adjustments += [adjust_saturation_with_gray_subtraction, adjust_hue]
    amounts = draws.uniform("factor", 1 - JITTER_FACTOR, 1 + JITTER_FACTOR, 4)
    amounts[:, 3] = draws.uniform("hue", -JITTER_HUE, JITTER_HUE) * 2 * math.pi
    order = draws.uniform("order", 0, 1, 4).argsort(dim=1, stable=True)
    views = views.clone()
    for place in range(4):
        for index, adjust in enumerate(adjustments):
            chosen = (order[:, place] == index).nonzero()[:, 0]
            if len(chosen):
                views[chosen] = adjust(views[chosen], amounts[chosen, index])
    return views


def _affine(views: Tensor, draws: Draws) -> Tensor:
    """Rotate about the centre by up to `AFFINE_DEGREES`, then move each way by up to `AFFINE_TRANSLATION` of the side.

    Interpolation is bilinear; what comes in from outside is black.
    """
    import torch
    from kornia.geometry.transform import get_rotation_matrix2d, warp_affine

    height, width = views.shape[2:]
    size = torch.tensor([width, height], dtype=views.dtype, device=views.device)
    angles = draws.uniform("angle", -AFFINE_DEGREES, AFFINE_DEGREES)
    shifts = draws.uniform("shift", -AFFINE_TRANSLATION, AFFINE_TRANSLATION, 2) * size
    centre = ((size - 1) / 2).expand(len(views), -1)
    matrix = get_rotation_matrix2d(centre, angles, torch.ones_like(centre))
    matrix = torch.cat([matrix[:, :, :2], matrix[:, :, 2:] + shifts[:, :, None]], dim=2)
    # Interpolation of numbers in [0, 1] can leave it by rounding.
    return warp_affine(views, matrix, (height, width), align_corners=True).clamp(0, 1)


def _cutout(views: Tensor, draws: Draws) -> Tensor:
    """Fill a square of `CUTOUT_SIDE` of the side, centred on a uniform pixel and clipped at the border."""
    import torch

    inside = []
    for axis, name in ((2, "row"), (3, "column")):
        size = views.shape[axis]
        side = max(1, round(CUTOUT_SIDE * size))
        first = draws.integers(name, size)[:, None] - side // 2
        at = torch.arange(size, device=views.device)
        inside.append((at >= first) & (at < first + side))
    return views.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], CUTOUT_FILL)


def _noise(views: Tensor, draws: Draws) -> Tensor:
    """Add N(0, `NOISE_STD`^2) to each pixel and channel, then clip to [0, 1]."""
    noise = _normal(draws.words("key", 2), views[0].numel())
    return noise.mul_(NOISE_STD).view(views.shape).add_(views).clamp_(0, 1)


def _blur(views: Tensor, draws: Draws) -> Tensor:
    """Gaussian blur with sigma uniform in `BLUR_SIGMA` pixels, borders reflected."""
    from kornia.filters import gaussian_blur2d

    radius = int(BLUR_KERNEL * min(views.shape[2:])) // 2
    kernel = max(BLUR_SMALLEST_KERNEL, 2 * radius + 1)
    sigma = draws.uniform("sigma", *BLUR_SIGMA)
    return gaussian_blur2d(views, (kernel, kernel), sigma[:, None].expand(-1, 2)).clamp(0, 1)


def _sobel(views: Tensor, draws: Draws) -> Tensor:
    """Replace each channel by the magnitude of its Sobel gradient per pixel; nothing is random."""
    from kornia.filters import sobel

    return sobel(views.contiguous()).clamp(0, 1)


def _all(views: Tensor, draws: Draws) -> Tensor:
    """Apply one of Table 4's extras to each view, chosen uniformly.

    The paper says "randomly chosen". That each view has one agrees with its numbers: "+All" does no harm, although
    Sobel alone and noise alone do, so most views cannot have passed through them.
    """
    choice = draws.integers("choice", len(TABLE_4))
    views = views.clone()
    for index, name in enumerate(TABLE_4):
        chosen = (choice == index).nonzero()[:, 0]
        if len(chosen):
            views[chosen] = PIXEL_TRANSFORMS[name](views[chosen], draws.take(chosen).within(name))
    return views


def _normal(keys: Tensor, count: int) -> Tensor:
    """Standard normal pixels, float32 [m, count], from one Philox key for each view, int64 [m, 2].

    Philox-4x32-10 (Salmon et al., SC 2011) and Box and Muller's transform, on the device of `keys`: drawing this many
    numbers on the CPU would cost more than the encoder does. For augmentation only; never for privacy.
    """
    import torch

    blocks = -(-count // 4)
    drawn = torch.empty(len(keys), blocks * 4, device=keys.device)
    step = max(1, _NOISE_BLOCKS // blocks)
    for start in range(0, len(keys), step):
        words = _philox(keys[start : start + step], blocks)
        unit = [(word.float() + 0.5) * 2.0**-32 for word in words]
        for first, second in ((0, 1), (2, 3)):
            radius = (unit[first].log() * -2).clamp_(min=0).sqrt_()
            angle = unit[second] * (2 * math.pi)
            drawn[start : start + step, first * blocks : (first + 1) * blocks] = radius * angle.cos()
            drawn[start : start + step, second * blocks : (second + 1) * blocks] = radius * angle.sin()
    return drawn[:, :count]


def _philox(keys: Tensor, blocks: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox-4x32-10 on counters 0 .. blocks - 1 for each key, int64 [m, 2]: four int64 [m, blocks] of 32-bit words.

    The same words as `dpmix.random.philox`, in the signed integers that accelerators have: a product wraps, and its
    upper half is masked after the arithmetic shift.
    """
    import torch

    mask = 0xFFFFFFFF
    c0 = torch.arange(blocks, device=keys.device).expand(len(keys), -1)
    c1 = c2 = c3 = torch.zeros_like(c0)
    k0, k1 = keys[:, :1], keys[:, 1:]
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = ((p1 >> 32) & mask) ^ c1 ^ k0, p1 & mask, ((p0 >> 32) & mask) ^ c3 ^ k1, p0 & mask
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return c0, c1, c2, c3


INDEX_TRANSFORMS: dict[str, IndexTransform] = {"crop": _crop, "flip": _flip}
"""Transforms that move pixels: (rows [m, H], columns [m, W], draws, padding) to new rows and columns to read from."""

TABLE_4 = ("jitter", "affine", "cutout", "noise", "blur", "sobel")
"""Table 4's extras, in its order. Each applies to every view: otherwise Sobel could not cost what it does there."""

PIXEL_TRANSFORMS: dict[str, PixelTransform] = {
    "jitter": _jitter,
    "affine": _affine,
    "cutout": _cutout,
    "noise": _noise,
    "blur": _blur,
    "sobel": _sobel,
    "all": _all,
}
"""Transforms that change pixels: (views float32 [m, C, H, W] in [0, 1], draws) to views of the same kind."""

TRANSFORMS: Mapping[str, IndexTransform | PixelTransform] = ChainMap(
    PIXEL_TRANSFORMS,  # type: ignore[arg-type]  # ChainMap is invariant in its values; this one is only read
    INDEX_TRANSFORMS,  # type: ignore[arg-type]
)
"""Every transform by its name."""
