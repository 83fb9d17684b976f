"""Clipping modes: what is done to each example's gradient before it is added, and what that bounds.

Under every mode the sum moves by at most the mode's sensitivity when one example is added or removed, and no mode's
sensitivity exceeds the clip norm C: noise that covers C covers them all.

A mode is one class: below `Scaling` if it multiplies gradients by factors that depend on their norms alone, else below
`Clipping`, which may change them in any way.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from dpmix.errors import ParamsError, PrivacyError


class Clipping(ABC):
    """A clipping mode. Its instances are immutable, and what they do to one example depends on no other.

    One that shortens gradients to C and then cuts each coordinate to [-0.1, 0.1]:

    >>> class Truncated(Clipping):
    ...     def clip(self, rows, clip_norm):
    ...         return {name: row.clamp(-0.1, 0.1) for name, row in Flat().clip(rows, clip_norm).items()}
    >>> Truncated().clip({"weight": torch.tensor([[3.0, 4.0], [0.0, 0.05]])}, clip_norm=1.0)
    {'weight': tensor([[0.1000, 0.1000],
            [0.0000, 0.0500]])}
    """

    def sensitivity(self, names: Sequence[str], clip_norm: float) -> float:
        """The L2 norm that no example's clipped gradient exceeds; C unless a mode says that it is less.

        Args:
            names: of all trainable parameters.
            clip_norm: C.
        """
        return clip_norm

    def largest(self, names: Sequence[str], clip_norm: float) -> float:
        """What no entry of an example's clipped gradient exceeds in modulus; its norm, unless a mode says less.

        Args:
            names: of all trainable parameters.
            clip_norm: C.
        """
        return self.sensitivity(names, clip_norm)

    @abstractmethod
    def clip(self, rows: Mapping[str, Tensor], clip_norm: float) -> dict[str, Tensor]:
        """Per-example gradients as they are added.

        Args:
            rows: by parameter, float32 [n, *shape]; all are finite, and n may be 0. They may be overwritten.
            clip_norm: C.

        Returns:
            The same names and shapes. The norm of an example's gradient, over all parameters together, is at most
            `sensitivity`.
        """


class Scaling(Clipping):
    """A mode that multiplies each gradient by a factor, which follows from norms alone.

    The clipped sum is then a product of factors and gradients, and for a linear head nothing as large as a gradient is
    ever in memory.
    """

    @abstractmethod
    def factor(self, norms: Tensor, bound: float | Tensor) -> Tensor:
        """What gradients of these finite norms are multiplied with, so that none is longer than `bound`; same shape."""

    def scale(self, norms: Tensor, bound: float | Tensor) -> Tensor:
        """`factor`, and 0 where a norm is not finite.

        Args:
            norms: float32 of any shape, ||g||.
            bound: C > 0, or several that broadcast with `norms`.

        >>> Flat().scale(torch.tensor([0.5, 4.0, torch.inf]), 1.0)
        tensor([1.0000, 0.2500, 0.0000])
        """
        factors = self.factor(norms, bound)
        return torch.where(torch.isfinite(norms), factors, torch.zeros_like(factors))

    def factors(self, squares: Tensor, names: Sequence[str], clip_norm: float) -> Tensor:
        """What each parameter's gradient is multiplied with: by default one factor for all, from their joint norm.

        Args:
            squares: float32 [parameters, n], the squared norm of each parameter's gradient, summed as torch sums, in
                pairs. `vector_norm` adds float32 numbers one after the other, and falls short by 1e-4 of the norm of a
                few million.
            names: of the parameters, in the order of the squares.
            clip_norm: C.

        Returns:
            float32 [parameters, n]; 0 for an example whose gradient is not finite.
        """
        return self.scale(squares.sum(dim=0).sqrt(), clip_norm).expand(len(names), -1)

    @override
    def clip(self, rows: Mapping[str, Tensor], clip_norm: float) -> dict[str, Tensor]:
        squares = torch.stack([_flat(row).square().sum(dim=1) for row in rows.values()])
        factors = self.factors(squares, list(rows), clip_norm)
        return {
            name: row * factor.view(-1, *[1] * (row.dim() - 1))
            for (name, row), factor in zip(rows.items(), factors, strict=True)
        }


@dataclass(frozen=True)
class Flat(Scaling):
    """A gradient longer than C is shortened to C: g min(1, C / ||g||) (DP-SGD, Abadi et al. 2016). Sensitivity C.

    >>> mode_sensitivity(Flat(), ["conv.weight", "fc.weight"], clip_norm=1.0)
    1.0
    """

    @override
    def factor(self, norms: Tensor, bound: float | Tensor) -> Tensor:
        return torch.clamp(bound / norms.clamp_min(torch.finfo(norms.dtype).tiny), max=1.0)


@dataclass(frozen=True)
class AutoS(Scaling):
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

    @override
    def factor(self, norms: Tensor, bound: float | Tensor) -> Tensor:
        return bound / (norms + self.gamma)


@dataclass(frozen=True)
class PerLayer(Flat):
    """Each layer's gradient, weight and bias together, is shortened to its own bound C_l.

    Args:
        bounds: C_l by layer (a parameter's name without its last part), whose root of the sum of squares, which is the
            sensitivity, may not exceed C. By default C / sqrt(L) for each of L layers, and the sensitivity is C.

    >>> names = ["conv.weight", "conv.bias", "fc.weight"]
    >>> mode_sensitivity(PerLayer({"conv": 0.3, "fc": 0.4}), names, clip_norm=1.0)
    0.5
    """

    bounds: Mapping[str, float] | None = None

    @override
    def sensitivity(self, names: Sequence[str], clip_norm: float) -> float:
        if self.bounds is None:
            return clip_norm
        return min(clip_norm, math.hypot(*layer_bounds(self, names, clip_norm).values()))

    @override
    def factors(self, squares: Tensor, names: Sequence[str], clip_norm: float) -> Tensor:
        bounds = layer_bounds(self, names, clip_norm)
        layers = list(bounds)
        places = [layers.index(layer_of(name)) for name in names]
        members = [[at for at, place in enumerate(places) if place == layer] for layer in range(len(layers))]
        lengths = torch.stack([squares[those].sum(dim=0) for those in members]).sqrt()
        factors = self.scale(lengths, squares.new_tensor(list(bounds.values()))[:, None])[places]
        # One layer that is not finite takes all others with it.
        return torch.where(torch.isfinite(squares.sum(dim=0)), factors, torch.zeros_like(factors))


@dataclass(frozen=True)
class Coordinates(Clipping):
    """A gradient is shortened to C as by `Flat`, then each entry is cut to ± C / sqrt(p) (ModelMix, Algorithm 2).

    Sensitivity C. A longer gradient has many entries at the bound, so that no single one says much: amplification by
    mixing (`dpmix.privacy.model_mix_accounting`) counts on it.

    Args:
        truncation: p >= 1; 1 cuts nothing, as no entry exceeds C.

    Raises:
        ParamsError: if `truncation` is not a finite number >= 1.

    >>> Coordinates(truncation=4).clip({"weight": torch.tensor([[3.0, 4.0, 0.0]])}, clip_norm=1.0)
    {'weight': tensor([[0.5000, 0.5000, 0.0000]])}
    """

    truncation: float = 100.0

    def __post_init__(self) -> None:
        if not 1 <= self.truncation < math.inf:
            raise ParamsError(f"truncation {self.truncation} is not a finite number >= 1; 100 is usual, 1 cuts nothing")

    @override
    def largest(self, names: Sequence[str], clip_norm: float) -> float:
        return clip_norm / math.sqrt(self.truncation)

    @override
    def clip(self, rows: Mapping[str, Tensor], clip_norm: float) -> dict[str, Tensor]:
        most = clip_norm / math.sqrt(self.truncation)
        return {name: row.clamp(-most, most) for name, row in FLAT.clip(rows, clip_norm).items()}


FLAT = Flat()


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
        raise ParamsError(f"per-layer bounds {dict(mode.bounds)} are not all above 0 and finite; give such bounds")
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
        PrivacyError: if the mode's sensitivity exceeds `clip_norm`, which is all that the noise covers.
        ParamsError: if it is no mode, or does not fit the parameters, as bounds for other layers do not.

    >>> mode_sensitivity(AutoS(), ["conv.weight"], clip_norm=1.0)
    1.0
    """
    if not isinstance(mode, Clipping):
        raise ParamsError(f"{mode!r} is no clipping mode; give an instance of one, such as Flat() or AutoS()")
    sensitivity = mode.sensitivity(list(names), clip_norm)
    if not sensitivity <= clip_norm:
        raise PrivacyError(
            f"{type(mode).__name__} has sensitivity {sensitivity:g}, more than the clip norm {clip_norm:g} that the "
            "noise covers; have it clip to the clip norm"
        )
    return sensitivity


def clip_rows(rows: Mapping[str, Tensor], clip_norm: float, mode: Clipping) -> dict[str, Tensor]:
    """`mode.clip` of per-example gradients, held to what the mode says of itself.

    Args:
        rows: by parameter, float32 [n, *shape], all finite.
        clip_norm: C.
        mode: how they are clipped.

    Raises:
        PrivacyError: if an example's clipped gradient is longer than the mode's sensitivity, has a larger entry than
            the mode says, or is not finite.

    >>> clip_rows({"weight": torch.tensor([[3.0, 4.0]])}, clip_norm=1.0, mode=Flat())
    {'weight': tensor([[0.6000, 0.8000]])}
    """
    sensitivity = mode_sensitivity(mode, rows, clip_norm)
    clipped = mode.clip(rows, clip_norm)
    lengths = torch.stack([_flat(row).square().sum(dim=1) for row in clipped.values()]).sum(dim=0).sqrt()
    if not bool((lengths <= sensitivity * (1 + 1e-5)).all()):  # float32's rounding
        raise PrivacyError(
            f"{type(mode).__name__} lets a gradient through that is longer than its sensitivity {sensitivity:g}, so no "
            "noise covers it; correct the mode"
        )
    largest = mode.largest(list(rows), clip_norm)
    entries = [row.abs().amax() for row in clipped.values() if row.numel()]
    if entries and not bool(torch.stack(entries).amax() <= largest * (1 + 1e-5)):
        raise PrivacyError(
            f"{type(mode).__name__} lets an entry of a gradient through that is larger than the {largest:g} that it "
            "says, so mixing does not cover it; correct the mode"
        )
    return clipped


def _flat(row: Tensor) -> Tensor:
    """[n, *shape] as [n, entries]; n may be 0."""
    return row.reshape(len(row), math.prod(row.shape[1:]))
