"""The transforms of views, by the names that `params.yaml` uses.

To add a transform, write a function and put it into `INDEX_TRANSFORMS` (it moves pixels) or `PIXEL_TRANSFORMS` (it
changes them); its name can then be used in `params.yaml`.

De et al. (2022) crop and flip ("Self-Aug"). Table 4 of the DP-Mix paper adds, one at a time, transforms after Chen et
al. (2020, SimCLR), whose strengths it does not print. Colour jitter and blur take the numbers of SimCLR's appendix;
SimCLR gives none for the others, so those below are this package's choice.

Importing this module loads neither torch nor kornia, so that names can be checked before anything is computed.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpmix.errors import ParamsError
from dpmix.views.draws import Draws, standard_normal

if TYPE_CHECKING:
    from torch import Tensor

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

# (rows int64 [m, H], columns int64 [m, W], draws, padding) -> rows and columns that each view reads its pixels from.
IndexTransform = Callable[["Tensor", "Tensor", Draws, int], "tuple[Tensor, Tensor]"]

# (views float32 [m, C, H, W] in [0, 1], draws) -> views of the same shape and range.
PixelTransform = Callable[["Tensor", Draws], "Tensor"]


def _crop(rows: Tensor, columns: Tensor, draws: Draws, padding: int) -> tuple[Tensor, Tensor]:
    """Pad by reflection (without repeating the edge), then crop to the old size at a uniform offset."""
    import torch

    offsets = _offsets(draws, padding) - padding

    def shifted(source: Tensor, offset: Tensor) -> Tensor:
        size = source.shape[1]
        if padding >= size:
            raise ParamsError(f"padding {padding} does not fit images of {size} pixels; choose at most {size - 1}")
        at = (torch.arange(size, device=source.device) + offset[:, None]).abs()
        return source.gather(1, (size - 1) - ((size - 1) - at).abs())

    return shifted(rows, offsets[:, 0]), shifted(columns, offsets[:, 1])


def _flip(rows: Tensor, columns: Tensor, draws: Draws, padding: int) -> tuple[Tensor, Tensor]:
    """Mirror left and right with probability `FLIP_PROBABILITY`."""
    return rows, columns.flip(1).where(_flipped(draws)[:, None], columns)


def _offsets(draws: Draws, padding: int) -> Tensor:
    """Where each view's crop begins in the padded image, int64 [m, 2]."""
    return draws.integers("offset", 2 * padding + 1, 2)


def _flipped(draws: Draws) -> Tensor:
    """Which views are mirrored, bool [m]."""
    return draws.uniform("flip", 0, 1) < FLIP_PROBABILITY


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
    noise = standard_normal(draws.words("key", 2), views[0].numel())
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


@dataclass(frozen=True)
class Finite:
    """A transform that makes one of finitely many pictures of an image, all with the same probability.

    Attributes:
        pictures: how many there are, by the padding.
        which: which of them each view is, int64 [m] below that, from the draws that the transform makes.
    """

    pictures: Callable[[int], int]
    which: Callable[[Draws, int], Tensor]


def _which_crop(draws: Draws, padding: int) -> Tensor:
    offsets = _offsets(draws, padding)
    return offsets[:, 0] * (2 * padding + 1) + offsets[:, 1]


def _always_the_first(draws: Draws, padding: int) -> Tensor:
    import torch

    return torch.zeros(len(draws), dtype=torch.int64)


# Of all others no two views are expected to be the same picture.
FINITE: dict[str, Finite] = {
    "crop": Finite(lambda padding: (2 * padding + 1) ** 2, _which_crop),
    "flip": Finite(lambda padding: 2, lambda draws, padding: _flipped(draws).long()),
    "sobel": Finite(lambda padding: 1, _always_the_first),
}

INDEX_TRANSFORMS: dict[str, IndexTransform] = {"crop": _crop, "flip": _flip}

# The transforms that Table 4 adds, in its order. Each is applied to every view: were only some views passed through
# Sobel, it could not lower accuracy as much as the paper reports.
TABLE_4 = ("jitter", "affine", "cutout", "noise", "blur", "sobel")

PIXEL_TRANSFORMS: dict[str, PixelTransform] = {
    "jitter": _jitter,
    "affine": _affine,
    "cutout": _cutout,
    "noise": _noise,
    "blur": _blur,
    "sobel": _sobel,
    "all": _all,
}

TRANSFORMS: Mapping[str, IndexTransform | PixelTransform] = ChainMap(
    PIXEL_TRANSFORMS,  # type: ignore[arg-type]  # ChainMap is invariant in its values; this one is only read
    INDEX_TRANSFORMS,  # type: ignore[arg-type]
)
