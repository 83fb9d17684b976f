"""What `dpmix train` does where nobody says otherwise: settings that follow from N alone, which is public.

Views have to be encoded, which is nearly all of the time, and steps on features cost next to nothing. So each unit has
one set of K views (`view_sets: 1`), which is encoded once, K N views in all, and then comes as often as is good:

    B = N / 4,      25 epochs,      T = 100 steps,

with B rounded down: T is 100 for every N of 304 or more, and up to 175 for some smaller ones. At a given ε the noise
of a run depends little on how it is cut into steps once B is a quarter of N: with B = N it would be 2 to 7 % less (at
ε = 1 and 4), at four times the work. How many steps there are matters little too: `docs/own-images` has half and
twice as many, on 10,000 images of CIFAR-10. Of a few hundred images larger batches would be one or two points better
(`benchmarks/README.md`). Two sets of views, or four views of each image in place of one, were no better
(`docs/choices.md`).

Persons have four sets, as one shows K_BASE of their images.
"""

from dataclasses import dataclass
from typing import Literal

from dpmix.errors import ParamsError

K_BASE = 2

K_SELF = 2

# Of public images, where there are some.
K_DIFF = 2

VIEW_SETS = {"image": 1, "person": 4}

EPOCHS = 25

# B / N.
RATE = 0.25

CLIP_NORM = 1.0

LARGEST_DELTA = 1e-5

ENCODER = "efficientnet-lite0"

# Pixels of a side that the default encoder sees. A laptop can pay for it: see the table in docs/choices.md.
SIDE = 96

METHOD: Literal["dp-mix-self"] = "dp-mix-self"

# Where there are public images.
METHOD_WITH_PUBLIC: Literal["dp-mix-diff"] = "dp-mix-diff"


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
        delta: δ, the largest power of ten that is at most a tenth of 1 / N, and at most 1e-5.
        k_base: K_BASE.
        k_self: K_SELF.
        k_diff: none of public images, as none are needed.
        view_sets: R, sets of K views of each unit, encoded once.
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
    view_sets: int
    transforms: tuple[str, ...]
    padding: int
    momentum: float
    ema_decay: float

    @property
    def views(self) -> int:
        """K, the views of each sampled unit."""
        return self.k_base + self.k_self + self.k_diff

    def encoded(self, population: int) -> int:
        """How many views are encoded in a run, which is nearly all of its time."""
        return self.views * self.view_sets * population


def recipe(population: int, classes: int, epsilon: float, unit: str = "image", *, side: int = SIDE) -> Recipe:
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
    (500, 25, 12500, 25, 1e-06)
    """
    if population < 1:
        raise ParamsError(f"population {population!r} is below 1; give the published number of training {unit}s")
    if classes < 2:
        raise ParamsError(f"a classifier of {classes!r} class has nothing to learn; give two classes or more")
    if not epsilon > 0:
        raise ParamsError(f"epsilon {epsilon!r} is not above 0; give one such as 4")
    if unit not in ("image", "person"):
        raise ParamsError(f"unknown unit {unit!r}; choose image or person")
    return Recipe(
        method=METHOD,
        batch_size=max(1, int(RATE * population)),
        epochs=EPOCHS,
        clip_norm=CLIP_NORM,
        delta=default_delta(population),
        k_base=K_BASE,
        k_self=K_SELF,
        k_diff=0,
        view_sets=VIEW_SETS[unit],
        transforms=("crop",),
        padding=max(1, side // 16),
        momentum=0.0,
        ema_decay=0.9,
    )


def default_delta(population: int) -> float:
    """The largest power of ten that is at most a tenth of 1 / N, and at most 1e-5.

    A mechanism that publishes each unit as it is with probability δ is (0, δ)-private, and publishes δ N of them in
    expectation: a tenth of one at most.

    >>> default_delta(2_000), default_delta(10_000), default_delta(10_001), default_delta(100_000)
    (1e-05, 1e-05, 1e-06, 1e-06)
    """
    # In whole numbers: 0.1 / N and 10^-k are rounded.
    return min(LARGEST_DELTA, float(f"1e-{len(str(population - 1)) + 1}"))
