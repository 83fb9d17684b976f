"""The exponential moving average of the weights. It is computed from noisy weights alone and costs no privacy."""

from torch import Tensor


def warm_decay(decay: float, step: int) -> float:
    """The decay after step `step` (from 0): min(decay, (1 + step) / (10 + step)).

    Without the warm-up the average would stay near the initial weights for 1 / (1 - decay) steps.
    """
    return min(decay, (1 + step) / (10 + step))


def update_average(average: Tensor, value: Tensor, decay: float, step: int) -> None:
    """Move `average` towards `value`, of the same shape, in place: average += (1 - d) (value - average).

    Args:
        average: changed in place.
        value: the weights after step `step`.
        decay: d once the warm-up is over, see `warm_decay`.
        step: the step, from 0.
    """
    average.lerp_(value, 1 - warm_decay(decay, step))
