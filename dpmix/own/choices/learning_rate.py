"""The learning rate of a linear head, from public numbers alone: no image is looked at, so no privacy is spent on it.

A head starts at zero, and step by step w moves by -(η / B) (sum of clipped gradients + noise), where the noise has the
standard deviation σ C in every entry. Two things bound a good rate η.

**Noise.** In T steps noise alone moves every weight by η C σ √T / B, and the logit of a class by as much times the norm
of the features, about √2 (a feature vector of norm 1 and the constant 1). Noise may be a fixed part of what makes a
softmax say which class an image shows, which is a few units of its logits, for two classes as for ten:

    η C σ √τ / B = c.                                                                                (1)

The movement of τ steps counts. That is all T, or fewer where data pull the weights back: the curvature of the
cross-entropy at zero is λ / classes along a direction in which features have the variance λ. So a displacement is
forgotten after about classes / (η C λ) steps, and its square adds up as over half as many. λ is 1 / d on average, but
features vary along fewer directions than they have numbers: along s times fewer, λ = s / d,

    τ = min(T, classes d / (2 s η C)).                                                               (2)

With the second of these in place of T, (1) reads η C = 2 s (c B / σ)² / (classes d). It matters for encoders with few
features, such as the demo's 64. With T, (1) reads η C = x = c B / (σ √T). Where x is below one, so little is learned
that logits stay small whatever noise does, and only their order counts, which no rate changes; a rate then is better
too large than too small, and η C = √(x (x + b)) was near the best.

**Curvature.** Without noise a rate that is far too large moves weights past the optimum at every step. The curvature
along the constant is 1 / classes at the start, so the largest rate is a multiple of the number of classes,

    η C <= a classes.                                                                                (3)

Above it the moving average of the weights (`dpmix.own.choices.recipe`) keeps accuracy nearly the same over a factor of
8 and more; so (3) can be rough. Everything is in units of 1 / C, as gradients at the start are longer than C <= 1.

c, b, s and a were chosen on CIFAR-10 (its ten classes, and pairs of them) and on digits; what was lost there to the
best rate of a grid is in `benchmarks/README.md`.
"""

import math
from typing import TYPE_CHECKING

from dpmix.errors import ParamsError

if TYPE_CHECKING:
    from dpmix.privacy.plan import Plan

# c of (1).
NOISE = 0.5

# b, for little signal.
LITTLE = 1.1

# s of (2).
SPREAD = 2.0

# a of (3).
PER_CLASS = 4.0


def learning_rate(plan: "Plan", *, views: int, classes: int, dimension: int) -> float:
    """η of plain SGD on the mean of clipped sums, for features of typical norm 1 and a constant 1.

    η C is the smaller of (3) and the larger of both forms of (1), see the module.

    Args:
        plan: its B, T, C and the noise of a step.
        views: K, whose mean gradient is clipped. It must be known to be right for the plan, but the rate is the same
            for all: a mean over more views is shorter by some hundredths only.
        classes: number of classes.
        dimension: d, features without the constant.

    Raises:
        ParamsError: unless there are two classes, one view and one feature at least.

    >>> from dpmix.privacy.plan import Plan
    >>> plan = Plan(1000, batch_size=500, steps=28, clip_norm=1.0, noise_multiplier=3.05, delta=1e-5)
    >>> round(learning_rate(plan, views=4, classes=10, dimension=1280), 1)
    16.0
    """
    for name, value, least in (("views", views, 1), ("classes", classes, 2), ("dimension", dimension, 1)):
        if value < least:
            raise ParamsError(f"{name} {value!r} is below {least}; a head needs {least} or more")
    largest = PER_CLASS * classes
    if not plan.private:
        return largest / plan.clip_norm
    movement = NOISE * plan.expected_units / (plan.noise_std / plan.clip_norm)
    kept = movement / plan.steps**0.5
    kept = math.sqrt(kept * (kept + LITTLE))
    forgotten = 2 * SPREAD * movement**2 / (classes * dimension)
    return min(largest, max(kept, forgotten)) / plan.clip_norm
