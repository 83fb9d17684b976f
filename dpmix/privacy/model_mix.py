"""ModelMix (Xiao, Wan, Devadas, arXiv:2210.03843), Algorithm 1: each step mixes the last two released states.

Every step releases the weights. With w_{k-1} and w_{k-2} those of the last two steps, G the sum of clipped gradients at
w_{k-1}, Δ the Gaussian noise on it, B the expected batch size and η the learning rate, step k releases

    w_k = α w_{k-1} + (1 - α) w_{k-2} - η (G + Δ) / B        α ~ U[0, 1], fresh for each coordinate and step, and secret

after the two have been pushed apart, to a distance of at least τ in each coordinate. So w_k is their midpoint, which
anybody can compute, plus noise that is uniform on an interval as long as their distance, plus DP-SGD's noisy step.
`dpmix.privacy.model_mix_accounting` says what that is worth. Pushed copies exist inside the step only: w_{k-1}, as it
was released, is the next w_{k-2}.

**The push.** With d = w_{k-1}(j) - w_{k-2}(j) in coordinate j, both move by the same amount away from their midpoint
until their distance is τ ⌈|d| / τ⌉, and τ if they are equal, when sign(0) counts as +1. The paper moves both by τ / 2
where |d| < τ, so that the distance becomes |d| + τ; its released code moves them to a distance of max(|d|, τ) and
leaves equal coordinates where they are, without any mixing noise. Here distances are whole multiples of τ because the
proof needs it: noise that is uniform over m τ is noise uniform over τ with a random shift, one of m, that depends on
nothing private, so that by joint convexity it reveals no more. For other distances above τ the same is only seen in
numbers. This push adds less noise than the paper's where |d| < τ, and at most τ more than is there where |d| > τ.

Arithmetic is in float64, and only the result is rounded: to float32, and to a grid that depends on τ alone, so that its
low bits betray nothing (see `dpmix.privacy.noise`).
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dpmix.errors import ParamsError
from dpmix.random import generator

_GRID_BITS = 24


@dataclass(frozen=True)
class MixRule:
    """The public numbers of one step.

    Attributes:
        width: τ > 0, the least distance of the two states that are mixed, in units of the weights.
        learning_rate: η.
        expected_units: B, by which the noisy sum is divided.
        heavy_ball: β in [0, 1): β (w_{k-1} - w_{k-2}) is added, a function of released states. A momentum buffer would
            carry noisy gradients from step to step without the mixing noise of the states, and amplification would not
            hold (`docs/pitfalls.md`).
        weight_decay: λ: η λ w_{k-1} is subtracted, with w_{k-1} as it was released.

    Raises:
        ParamsError: a width that is not a finite number above 0.

    >>> MixRule(width=0.3, learning_rate=2.0, expected_units=100).scale
    0.02
    """

    width: float
    learning_rate: float
    expected_units: float
    heavy_ball: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.width < math.inf:
            raise ParamsError(f"mixing width {self.width} is not a finite number above 0; set mix_width, 0.15 is usual")

    @property
    def scale(self) -> float:
        """η / B: what one unit of the noisy sum moves a weight by."""
        return self.learning_rate / self.expected_units


def signed_gaps(last: Tensor, before: Tensor, width: float) -> Tensor:
    """The pushed w_{k-1} - w_{k-2}: a multiple of τ that is not 0, with the sign of the difference (+ where it is 0).

    Args:
        last: w_{k-1}, as released.
        before: w_{k-2}, as released.
        width: τ.

    >>> signed_gaps(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 1.5, -3.5]), 2.0)
    tensor([ 2., -2.,  4.], dtype=torch.float64)
    """
    gap = last.double() - before.double()
    multiples = torch.ceil(gap.abs() / width).clamp_min(1)
    return torch.where(gap < 0, -multiples, multiples) * width


def centres(last: Tensor, before: Tensor, noisy: Tensor, rule: MixRule) -> Tensor:
    """w_k without its mixing noise: the midpoint, the noisy gradient step, heavy ball and weight decay; float64.

    >>> rule = MixRule(width=0.5, learning_rate=1.0, expected_units=10)
    >>> centres(torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([5.0]), rule)
    tensor([1.5000], dtype=torch.float64)
    """
    last, before = last.double(), before.double()
    moved = rule.heavy_ball * (last - before) - rule.learning_rate * rule.weight_decay * last
    return (last + before) / 2 + moved - rule.scale * noisy.double()


def mix(last: Tensor, before: Tensor, noisy: Tensor, alpha: Tensor, rule: MixRule) -> Tensor:
    """w_k of one parameter (Algorithm 1, lines 6 to 10).

    Args:
        last: w_{k-1}, as released.
        before: w_{k-2}, as released.
        noisy: G + Δ, the clipped sum with its noise; not yet divided.
        alpha: float64, in [0, 1], one for each entry.
        rule: τ, η, B and the like.

    Returns:
        Of the shape, type and device of `last`; computed on the CPU, as not every device has float64.

    >>> rule = MixRule(width=0.5, learning_rate=1.0, expected_units=10)
    >>> mix(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 3.0]), torch.zeros(2), torch.tensor([1.0, 0.25]), rule)
    tensor([1.2500, 2.5000])
    """
    here, there, total = (tensor.detach().cpu() for tensor in (last, before, noisy))
    exact = centres(here, there, total, rule) + (alpha.detach().cpu() - 0.5) * signed_gaps(here, there, rule.width)
    grid = 2.0 ** (math.floor(math.log2(rule.width)) - _GRID_BITS)
    return (torch.round(exact / grid) * grid).to(device=last.device, dtype=last.dtype)


class MixingSource(Protocol):
    """Draws α, uniform on (0, 1), independently for every entry, name and step."""

    def draw(self, shape: Sequence[int], *, step: int, name: str) -> Tensor:
        """α of one parameter at one step, float64 `shape` on the CPU."""
        ...


class SeededMixing:
    """α that the run's seed determines: for experiments. Whoever knows the seed can take the mixing noise out again.

    >>> mixing = SeededMixing(seed=0)
    >>> one, again, other = (mixing.draw((2, 3), step=step, name="weight") for step in (1, 1, 2))
    >>> torch.equal(one, again), bool((one == other).any())
    (True, False)
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def draw(self, shape: Sequence[int], *, step: int, name: str) -> Tensor:
        """See `MixingSource.draw`."""
        return torch.from_numpy(generator(self.seed, "model-mix", step, name).random(tuple(shape)))


class SecureMixing:
    """α from the operating system's entropy, for a release: nobody can draw it again, and it is kept nowhere.

    >>> mixing = SecureMixing()
    >>> one, again = (mixing.draw((2, 3), step=1, name="weight") for _ in range(2))
    >>> torch.equal(one, again)
    False
    """

    def draw(self, shape: Sequence[int], *, step: int, name: str) -> Tensor:
        """See `MixingSource.draw`. Of 52 random bits each, in the middle of its interval."""
        count = math.prod(shape)
        if not count:
            return torch.zeros(tuple(shape), dtype=torch.float64)
        # bytearray: a tensor over read-only memory would warn.
        words = torch.frombuffer(bytearray(os.urandom(8 * count)), dtype=torch.int64)
        return (((words & ((1 << 52) - 1)).double() + 0.5) * 2.0**-52).reshape(tuple(shape))
