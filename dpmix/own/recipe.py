"""What `dpmix train` does where nobody says otherwise: settings that follow from N alone, which is public.

Every view has to be encoded, K epochs N of them, which is nearly all of the time. So the views of a run are counted
first, and batches are then as large as leaves enough steps:

    views of a run = max(16 N, min(40,000, 160 N)),      B = 8 √N,      T = epochs N / B,

27 steps out of 2,000 images, 50 out of 10,000 and 111 out of 50,000. Fewer would be too few for the moving average of
the weights: where noise does not limit, it keeps accuracy within a point over a factor of 8 of learning rates. On
CIFAR-10 with N = 1,000, ε = 1 and 2, going from 7 epochs to 14 with batches twice as large gained some two points, and
40 epochs one or two more. K was not varied.
"""

import math
from dataclasses import dataclass
from typing import Literal

from dpmix.errors import ParamsError

K_BASE = 2

K_SELF = 2

# Views of a run: of each unit at least, of a small data set in all, and of each unit at most.
LEAST_OF_EACH = 16

IN_ALL = 40_000

MOST_OF_EACH = 160

# B / √N.
BATCH = 8.0

LARGEST_DELTA = 1e-5


@dataclass(frozen=True)
class Recipe:
    """Settings of a run, by the names of `dpmix.params.settings.RunSettings`, and its method.

    Attributes:
        method: its name in `params.yaml`; every view of a unit comes from that unit itself, so no public images are
            needed.
        batch_size: B, the expected number of units of a step.
        epochs: expected passes over the units.
        clip_norm: C. Gradients at the start have the norm √(2 - 2 / classes), so most are clipped to 1 there, and none
            once it is learned. On digits a tenth of it, which keeps all gradients equally long, was no better.
        delta: δ, the largest power of ten below 1 / N, and at most 1e-5.
        k_base: K_BASE.
        k_self: K_SELF.
        k_diff: K_DIFF.
        transforms: of each view. No flip: it changes the meaning of digits, letters, signs and sides of a body.
        padding: of the crop, in pixels of the side that the encoder sees, a sixteenth of it.
        momentum: none; the moving average takes its place.
        ema_decay: of the moving average of the weights, which is what is kept.
    """

    method: Literal["dp-mix-self"]
    batch_size: int
    epochs: int
    clip_norm: float
    delta: float
    k_base: int
    k_self: int
    k_diff: int
    transforms: tuple[str, ...]
    padding: int
    momentum: float
    ema_decay: float

    @property
    def views(self) -> int:
        """K, the views of each sampled unit."""
        return self.k_base + self.k_self + self.k_diff

    def encoded(self, population: int) -> int:
        """How many views are encoded in a run, in expectation, which is nearly all of its time."""
        return self.views * self.epochs * population


def recipe(population: int, classes: int, epsilon: float, unit: str = "image", *, side: int = 96) -> Recipe:
    """The settings for N units. They are the same for every ε and number of classes: the learning rate is not.

    Args:
        population: N, the published number of units.
        classes: number of classes.
        epsilon: ε.
        unit: `image`, or `person`, whose views are then made of that person's images.
        side: pixels of a side of the images that the encoder sees.

    Raises:
        ParamsError: for numbers that no run can have.

    >>> small, large = recipe(2_000, 2, 4.0), recipe(50_000, 10, 4.0)
    >>> small.batch_size, small.epochs, large.batch_size, large.epochs, large.delta
    (358, 5, 1789, 4, 1e-05)
    """
    if population < 1:
        raise ParamsError(f"population {population!r} is below 1; give the published number of training {unit}s")
    if classes < 2:
        raise ParamsError(f"a classifier of {classes!r} class has nothing to learn; give two classes or more")
    if not epsilon > 0:
        raise ParamsError(f"epsilon {epsilon!r} is not above 0; give one such as 4")
    if unit not in ("image", "person"):
        raise ParamsError(f"unknown unit {unit!r}; choose image or person")
    of_each = max(LEAST_OF_EACH, min(MOST_OF_EACH, IN_ALL / population))
    return Recipe(
        method="dp-mix-self",
        batch_size=min(population, max(1, round(BATCH * math.sqrt(population)))),
        epochs=round(of_each / (K_BASE + K_SELF)),
        clip_norm=1.0,
        delta=default_delta(population),
        k_base=K_BASE,
        k_self=K_SELF,
        k_diff=0,
        transforms=("crop",),
        padding=max(1, side // 16),
        momentum=0.0,
        ema_decay=0.9,
    )


def default_delta(population: int) -> float:
    """The largest power of ten below 1 / N, and at most 1e-5.

    >>> default_delta(2_000), default_delta(99_999), default_delta(100_000)
    (1e-05, 1e-05, 1e-06)
    """
    return min(LARGEST_DELTA, float(f"1e-{len(str(population))}"))
