"""The draws of mixtures, as `dpmix.views.mixing_modes` uses them: which two members of S each is of, and their weights.

Importing this module loads no torch.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dpmix.params.registries import MIXING_MODES, registered
from dpmix.random import KeyedRandom
from dpmix.views.settings import ViewSettings

if TYPE_CHECKING:
    from dpmix.views.mixing_modes import MixingMode


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
    one, other = mode_of(settings).pairs(first, second, members, settings.pairs == "distinct")
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
    return mode_of(settings).weights(random, stream, random.beta(stream, settings.alpha, count), size)


def mode_of(settings: ViewSettings) -> "MixingMode":
    """How the pairs of these views are mixed."""
    mode: MixingMode = registered(MIXING_MODES, settings.mixing)
    return mode
