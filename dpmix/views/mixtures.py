"""The draws of mixtures: which two members of S each is of, their weights, and the boxes of CutMix.

Importing this module loads no torch.
"""

import numpy as np
import numpy.typing as npt

from dpmix.random import KeyedRandom, below
from dpmix.views.settings import ViewSettings


def draw_pairs(random: KeyedRandom, members: int, settings: ViewSettings) -> npt.NDArray[np.int64]:
    """The pairs of k_self mixtures of each example, int64 [n, k_self, 2]: places in S.

    Those of a smaller k_self are the first of those of a larger one.

    Args:
        random: draws keyed by the n examples.
        members: |S|.
        settings: `k_self`, `pairs` and `mixing`.
    """
    first, second = (random.uniform(name, settings.k_self) for name in ("first", "second"))
    return pairs_of(first, second, members, settings)


def pairs_of(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], members: int, settings: ViewSettings
) -> npt.NDArray[np.int64]:
    """The pairs that two uniform draws stand for.

    Args:
        first: uniform in (0, 1), of any shape.
        second: as many, which broadcast with `first`.
        members: |S|.
        settings: `pairs` and `mixing`.

    Returns:
        int64 [..., 2]: places in S.

    >>> pairs_of(np.array([0.1, 0.9]), np.array([0.1, 0.9]), 4, ViewSettings(k_base=4, k_self=2)).tolist()
    [[0, 1], [3, 2]]
    """
    if settings.mixing == "unmixed":
        # The released program draws both by themselves, and below |S| - 1: never the last of S.
        one, other = below(first, members - 1), below(second, members - 1)
    elif settings.pairs == "independent":
        one, other = below(first, members), below(second, members)
    else:
        one = below(first, members)
        other = (one + 1 + below(second, members - 1)) % members
    return np.stack(np.broadcast_arrays(one, other), axis=-1)


def draw_weights(
    random: KeyedRandom, stream: str, count: int, settings: ViewSettings, size: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]:
    """The weights of `count` mixtures of each example; those of a smaller count are the first of those of a larger one.

    Args:
        random: draws keyed by the n examples.
        stream: the purpose of the draws.
        count: m.
        settings: `mixing` and `alpha`.
        size: height and width of an image.

    Returns:
        float32 [n, m], the weight of each pair's first member: lambda, or with CutMix the share of pixels that it
        keeps; and for CutMix the boxes that show the second, int64 [n, m, 4] (see `dpmix.views.mixing.cut`).
    """
    drawn = random.beta(stream, settings.alpha, count)
    if settings.mixing != "cutmix":
        return drawn.astype(np.float32), None
    height, width = size
    boxes = _draw_boxes(random, stream, drawn, height, width)
    area = (boxes[..., 1] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 2])
    return 1 - area.astype(np.float32) / np.float32(height * width), boxes


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
