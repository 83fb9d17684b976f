"""What is made of a pair (a, b) of S: mixup, CutMix, or a copy of a; `dpmix.params.registries.MIXING_MODES` names each.

A mode says which pairs two uniform draws stand for, what a weighs, and the picture. To add one, write a class below
`MixingMode` in a file of its own, and put its name there. Importing this module loads no torch.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from dpmix.random import KeyedRandom, below

if TYPE_CHECKING:
    from torch import Tensor

Places = npt.NDArray[np.int64]


class MixingMode(ABC):
    """How the images of a pair are mixed; labels are always the mean by `weights`."""

    def pairs(
        self, first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], members: int, distinct: bool
    ) -> tuple[Places, Places]:
        """The two places in S that two draws, uniform in (0, 1), stand for.

        Args:
            first: of any shape.
            second: as many, which broadcast with `first`.
            members: |S|.
            distinct: whether the two are to differ.
        """
        one = below(first, members)
        return one, (one + 1 + below(second, members - 1)) % members if distinct else below(second, members)

    def weights(
        self, random: KeyedRandom, stream: str, drawn: npt.NDArray[np.float64], size: tuple[int, int]
    ) -> tuple[npt.NDArray[np.float32], Places | None]:
        """What the label gives the first of each pair, float32 [n, m], and the boxes that show the second, if any.

        Args:
            random: draws keyed by the n examples.
            stream: the purpose of the draws.
            drawn: float64 [n, m], from Beta(alpha, alpha).
            size: height and width of an image.
        """
        return drawn.astype(np.float32), None

    @abstractmethod
    def images(self, members: "Tensor", pairs: "Tensor", weights: "Tensor", boxes: "Tensor | None") -> "Tensor":
        """The pictures, float32 [n, m, C, H, W].

        Args:
            members: float32 [n, |S|, C, H, W].
            pairs: int64 [n, m, 2], places in S.
            weights: float32 [n, m].
            boxes: int64 [n, m, 4], as `weights` gave them.
        """


class Mixup(MixingMode):
    """The mean of both by lambda (Eq. 3)."""

    @override
    def images(self, members: "Tensor", pairs: "Tensor", weights: "Tensor", boxes: "Tensor | None") -> "Tensor":
        from dpmix.views.mixing import mix

        return mix(members, pairs, weights)


class CutMix(MixingMode):
    """The first with a box of the second, of the share 1 - lambda of the area (Yun et al., ICCV 2019)."""

    @override
    def weights(
        self, random: KeyedRandom, stream: str, drawn: npt.NDArray[np.float64], size: tuple[int, int]
    ) -> tuple[npt.NDArray[np.float32], Places | None]:
        height, width = size
        boxes = _draw_boxes(random, stream, drawn, height, width)
        area = (boxes[..., 1] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 2])
        return 1 - area.astype(np.float32) / np.float32(height * width), boxes

    @override
    def images(self, members: "Tensor", pairs: "Tensor", weights: "Tensor", boxes: "Tensor | None") -> "Tensor":
        from dpmix.views.mixing import cut

        assert boxes is not None
        return cut(members, pairs, boxes)


class Unmixed(MixingMode):
    """The first as it is, as the released program makes it; only the labels are mixed."""

    @override
    def pairs(
        self, first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], members: int, distinct: bool
    ) -> tuple[Places, Places]:
        # The released program draws both by themselves, and below |S| - 1: never the last of S.
        return below(first, members - 1), below(second, members - 1)

    @override
    def images(self, members: "Tensor", pairs: "Tensor", weights: "Tensor", boxes: "Tensor | None") -> "Tensor":
        import torch

        rows = torch.arange(len(members), device=members.device)[:, None]
        return members[rows, pairs[..., 0].to(members.device)]


def _draw_boxes(
    random: KeyedRandom, stream: str, weights: npt.NDArray[np.float64], height: int, width: int
) -> npt.NDArray[np.int64]:
    """CutMix's boxes for weights [n, m]: int64 [n, m, 4], as `dpmix.views.mixing.cut` takes them.

    Each has the share 1 - weight of the image's area and a centre that is uniform over the pixels. What reaches over
    the edge is cut off, so that the area may become smaller.
    """
    ends = []
    for name, size in (("row", height), ("column", width)):
        side = np.rint(size * np.sqrt(1 - weights)).astype(np.int64)
        first = random.integers(f"{stream}/{name}", size, weights.shape[1]) - side // 2
        ends += [np.clip(first, 0, size), np.clip(first + side, 0, size)]
    return np.stack(ends, axis=-1)


MIXUP = Mixup()

CUTMIX = CutMix()

UNMIXED = Unmixed()
