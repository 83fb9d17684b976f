"""Whether N, the number of classes and ε leave anything to learn, from public numbers alone.

In T steps the N / classes units of a class add T B / classes clipped gradients to the sums, each of norm about C; the
noise that is added in the direction of any feature vector has the standard deviation σ C √T. Their ratio,

    r = B √T / (σ classes),

says how well a class's mean is known: as if it had been measured once with noise of the standard deviation 1 / r in
every direction, for features of norm 1. What r is needed depends on how far apart the classes lie for the encoder,
which is private. The words are those of CIFAR-10, two to ten classes, with the default encoder,
and hold for data that are as hard.
"""

from typing import TYPE_CHECKING, NamedTuple

from dpmix.errors import ParamsError

if TYPE_CHECKING:
    from dpmix.privacy.plan import Plan

# From which r on, and what it means.
WORDS = (
    (200.0, "strong: noise should cost a point or two of accuracy"),
    (90.0, "good: noise should cost some points of accuracy"),
    (40.0, "weak: noise should cost many points of accuracy"),
    (8.0, "little: a third or more of what could be learned is lost in noise"),
    (0.0, "none: expect accuracy near that of a guess"),
)

REMEDY = "more images, fewer classes or a larger epsilon would help"


class Signal(NamedTuple):
    """How much signal a plan leaves.

    Attributes:
        ratio: r, a class's summed gradients by the noise on them.
        words: what it means, with a remedy if it is small.
    """

    ratio: float
    words: str

    @property
    def small(self) -> bool:
        """Whether so much is lost in noise that more images, fewer classes or a larger ε are worth thinking of."""
        return self.ratio < WORDS[1][0]

    @property
    def sentence(self) -> str:
        """What a person is told of it."""
        return f"signal of the images against the noise: {self.words}"


def signal(plan: "Plan", *, classes: int) -> Signal:
    """How much signal a plan leaves.

    Args:
        plan: its B, T and noise.
        classes: number of classes.

    Raises:
        ParamsError: for fewer than two classes.

    >>> from dpmix.privacy.plan import Plan
    >>> plan = Plan(1000, batch_size=500, steps=28, clip_norm=1.0, noise_multiplier=10.05, delta=1e-5)
    >>> signal(plan, classes=10).words.split(":")[0]
    'little'
    """
    if classes < 2:
        raise ParamsError(f"a classifier of {classes!r} class has nothing to learn; give two classes or more")
    if not plan.private:
        return Signal(float("inf"), "all: no noise is added")
    ratio = plan.clip_norm * plan.expected_units * plan.steps**0.5 / (plan.noise_std * classes)
    words = next(text for least, text in WORDS if ratio >= least)
    found = Signal(ratio, words)
    return found._replace(words=f"{words}; {REMEDY}") if found.small else found
