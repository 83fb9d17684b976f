"""Which picture a plain view is, where an image has finitely many: 81 crops x 2 sides of padding 4, `crop` and `flip`.

Two views of one image with the same number are the same picture to the last bit, in whatever step, run or method. How
many of a run's views are different is a matter of counting, which `dpmix.artefacts.repeated` does.

Importing this module loads no torch.
"""

import math

import numpy as np
import numpy.typing as npt

from dpmix.random import KeyedRandom
from dpmix.views.draws import Draws
from dpmix.views.settings import ViewSettings
from dpmix.views.transforms import FINITE


def pictures(settings: ViewSettings) -> int | None:
    """How many pictures the transforms make of one image, all equally likely; None where there is no end of them.

    >>> pictures(ViewSettings(k_base=16, transforms=("crop", "flip"), padding=4))
    162
    >>> pictures(ViewSettings(k_base=16, transforms=("crop", "jitter"), padding=4)) is None
    True
    """
    if any(name not in FINITE for name in settings.transforms):
        return None
    return math.prod(FINITE[name].pictures(settings.padding) for name in settings.transforms)


def which_pictures(random: KeyedRandom, stream: str, count: int, settings: ViewSettings) -> npt.NDArray[np.int64]:
    """Which of an image's pictures each view is, int64 [n, count] below `pictures(settings)`.

    Args:
        random: draws keyed by the n examples.
        stream: the purpose of the views, as `dpmix.views.augmentation.augment` takes it.
        count: K, views of each example.
        settings: with finitely many pictures.
    """
    found = np.zeros((len(random.examples), count), dtype=np.int64)
    if not found.size:
        return found
    draws = Draws(random, stream, count)
    for name in settings.transforms:
        kind = FINITE[name]
        drawn = kind.which(draws.within(name), settings.padding).numpy().reshape(found.shape)
        found = found * kind.pictures(settings.padding) + drawn
    return found
