"""Clipping modes: by how much each example's gradient is scaled before it is added, and what that bounds.

Under every mode the sum moves by at most the mode's sensitivity when one example is added or removed, and no mode's
sensitivity exceeds the clip norm C: noise that covers C covers them all.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dpmix.errors import ParamsError, PrivacyError


@dataclass(frozen=True)
class Flat:
    """A gradient longer than C is shortened to C: g min(1, C / ||g||) (DP-SGD, Abadi et al. 2016). Sensitivity C.

    >>> mode_sensitivity(Flat(), ["conv.weight", "fc.weight"], clip_norm=1.0)
    1.0
    """


@dataclass(frozen=True)
class AutoS:
    """Every gradient is scaled to nearly C, short ones too: g C / (||g|| + γ) (AUTO-S, Bu et al. 2023). Sensitivity C.

    Args:
        gamma: γ > 0, in units of gradient norms. Gradients much shorter than γ stay short; without it, rounding errors
            would be scaled up to C.

    Raises:
        ParamsError: if `gamma` is not a positive number.

    >>> AutoS(gamma=0)
    Traceback (most recent call last):
    dpmix.errors.ParamsError: AUTO-S needs a positive gamma, not 0; its authors use 0.01
    """

    gamma: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.gamma < math.inf:
            raise ParamsError(f"AUTO-S needs a positive gamma, not {self.gamma}; its authors use 0.01")


@dataclass(frozen=True)
class PerLayer:
    """Each layer's gradient, weight and bias together, is shortened to its own bound C_l.

    Args:
        bounds: C_l by layer (a parameter's name without its last part), whose root of the sum of squares, which is the
            sensitivity, may not exceed C. By default C / sqrt(L) for each of L layers, and the sensitivity is C.

    >>> names = ["conv.weight", "conv.bias", "fc.weight"]
    >>> mode_sensitivity(PerLayer({"conv": 0.3, "fc": 0.4}), names, clip_norm=1.0)
    0.5
    """

    bounds: Mapping[str, float] | None = None


Clipping = Flat | AutoS | PerLayer

FLAT = Flat()
CLIPPING: dict[str, Clipping] = {"flat": FLAT, "auto-s": AutoS(), "per-layer": PerLayer()}


def layer_of(name: str) -> str:
    """The layer that a parameter belongs to: its name without the last part.

    >>> layer_of("blocks.0.conv1.weight")
    'blocks.0.conv1'
    """
    return name.rpartition(".")[0]


def layer_bounds(mode: PerLayer, names: Iterable[str], clip_norm: float) -> dict[str, float]:
    """The bound C_l of each layer that the parameters `names` belong to, in the order of their first parameters.

    Raises:
        ParamsError: if the mode's bounds are not positive, or are not for exactly these layers.
        PrivacyError: if the root of the sum of their squares exceeds `clip_norm`.

    >>> layer_bounds(PerLayer(), ["a.weight", "b.weight", "c.weight", "d.weight"], clip_norm=1.0)
    {'a': 0.5, 'b': 0.5, 'c': 0.5, 'd': 0.5}
    """
    layers = list(dict.fromkeys(layer_of(name) for name in names))
    if mode.bounds is None:
        return dict.fromkeys(layers, clip_norm / math.sqrt(len(layers)))
    if set(mode.bounds) != set(layers):
        wrong = ", ".join(sorted(repr(one) for one in set(mode.bounds) ^ set(layers)))
        raise ParamsError(f"per-layer bounds must name every trained layer and no other; see {wrong}")
    if not all(0 < bound < math.inf for bound in mode.bounds.values()):
        raise ParamsError(f"per-layer bounds must be positive numbers, not {dict(mode.bounds)}")
    together = math.hypot(*mode.bounds.values())
    if together > clip_norm * (1 + 1e-9):
        raise PrivacyError(
            f"the per-layer bounds amount to {together:.6g} (root of the sum of squares), more than the clip norm "
            f"{clip_norm:g} that the noise covers; scale them by {clip_norm / together:.4g}"
        )
    return {layer: float(mode.bounds[layer]) for layer in layers}


def mode_sensitivity(mode: Clipping, names: Iterable[str], clip_norm: float) -> float:
    """How far adding or removing one example can move the clipped sum, in L2 norm: `clip_norm` or less.

    Args:
        mode: how gradients are clipped.
        names: of all trainable parameters.
        clip_norm: C.

    Raises:
        ParamsError, PrivacyError: as `layer_bounds` does.

    >>> mode_sensitivity(AutoS(), ["conv.weight"], clip_norm=1.0)
    1.0
    """
    if isinstance(mode, PerLayer) and mode.bounds is not None:
        return min(clip_norm, math.hypot(*layer_bounds(mode, names, clip_norm).values()))
    return clip_norm
