"""The clipped sum: per-example gradients of a mean over K views, clipped to C, added over the batch (Eq. 4).

One function, several backends, one result. For n examples with K views each, every backend computes for example i

    g_i = 1/K sum_k grad l(theta; x_ik, y_ik),    total = sum_i g_i min(1, C / ||g_i||),

with the norm taken in float32 of the very tensor that is added; other clipping modes (`dpmix.privacy.modes`) scale or
change g_i otherwise. An example whose gradient is not finite contributes zero. Removing or adding one example moves the
total by at most its sensitivity, whatever its views are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.backend_choice import check_backend, choose_backend
from dpmix.privacy.ghost import ghost_sum
from dpmix.privacy.loss import ExampleLoss, Parameters, check_names
from dpmix.privacy.modes import FLAT, Clipping, Scaling, clip_rows, mode_sensitivity
from dpmix.privacy.per_example import per_example_gradients
from dpmix.privacy.precision import (
    LayerNormsAsTheirWeights,
    autocast,
    check_precision,
    full_float32,
    loss_scale,
    repeatable_convolutions,
)


@dataclass(frozen=True)
class ClippedSum:
    """What one physical batch contributes to a step; `+` joins those of two.

    Attributes:
        total: the sum over examples of the clipped gradients, one float32 tensor per parameter.
        norms: float32 [n], ||g_i|| before clipping (not finite where the gradient is not).
        sensitivity: how far adding or removing one example can move `total` in L2 norm.

    >>> one = ClippedSum({"weight": torch.tensor([1.0])}, torch.tensor([5.0]), sensitivity=1.0)
    >>> (one + one).total, (one + one).norms
    ({'weight': tensor([2.])}, tensor([5., 5.]))
    """

    total: dict[str, Tensor]
    norms: Tensor
    sensitivity: float

    def __add__(self, other: "ClippedSum") -> "ClippedSum":
        total = {name: value + other.total[name] for name, value in self.total.items()}
        return ClippedSum(total, torch.cat([self.norms, other.norms]), max(self.sensitivity, other.sensitivity))


def zero_sum(params: Parameters, clip_norm: float, mode: Clipping = FLAT) -> ClippedSum:
    """The clipped sum of no examples: the start of a logical batch, and all of an empty one.

    >>> zero_sum({"weight": torch.ones(2)}, clip_norm=1.0).total
    {'weight': tensor([0., 0.])}
    """
    device = next(iter(params.values())).device
    total = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in params.items()}
    return ClippedSum(total, torch.zeros(0, device=device), mode_sensitivity(mode, params, clip_norm))


def clipped_sum(
    loss: ExampleLoss,
    params: Parameters,
    views: Tensor,
    targets: Tensor,
    clip_norm: float,
    *,
    backend: str = "auto",
    mode: Clipping = FLAT,
    precision: str = "float32",
) -> ClippedSum:
    """The clipped sum of one physical batch (Algorithm 1, inner loop).

    Args:
        loss: the loss of one example.
        params: trainable parameters by name; the module's other parameters are constants.
        views: [n, K, ...], the views S and S' of each example; n may be 0.
        targets: [n, K, classes], their soft labels.
        clip_norm: C > 0.
        backend: `reference` (vmap of grad), `sequential` (one example at a time through plain autograd),
            `vectorized` (n per-example gradients per layer), `ghost` (norms first, then a weighted sum:
            `dpmix.privacy.ghost`), or `auto` (`dpmix.privacy.backend_choice`).
        mode: `Flat()`, `AutoS()`, `PerLayer()`, or any other `dpmix.privacy.modes.Clipping`.
        precision: of forward and backward passes, `float32`, `bfloat16` or `float16`. Norms, clipping and sums are
            always in float32.

    Raises:
        PrivacyError: if the module mixes examples in its forward pass, or keeps statistics of them, or if the mode's
            sensitivity exceeds C, or what it clips exceeds its sensitivity.
        ParamsError: if `vectorized` or `ghost` is asked for and a layer has no rule for it, `ghost` and the mode does
            not scale, if the device lacks the precision, if the mode is none or its bounds do not fit the layers, or if
            `params` names what the module does not have.
        ValueError: for an unknown backend, a clip norm that is not positive, or shapes that do not agree.

    Four examples of three views each, none of which counts for more than 0.1:

    >>> module = nn.Linear(5, 2)
    >>> views, targets = torch.rand(4, 3, 5), torch.tensor([1.0, 0.0]).expand(4, 3, 2)
    >>> part = clipped_sum(ExampleLoss(module), dict(module.named_parameters()), views, targets, clip_norm=0.1)
    >>> part.norms.shape, {name: value.shape for name, value in part.total.items()}
    (torch.Size([4]), {'weight': torch.Size([2, 5]), 'bias': torch.Size([2])})
    """
    check_backend(backend)
    if not clip_norm > 0:
        raise ValueError(f"the clip norm must be positive, not {clip_norm}")
    if views.shape[:2] != targets.shape[:2]:
        raise ValueError(f"views {tuple(views.shape[:2])} and targets {tuple(targets.shape[:2])} differ in [n, K]")
    if views.shape[1] == 0:
        raise ValueError("there is no mean over K = 0 views; give each example at least one")
    check_precision(precision, views.device)
    check_names(loss.module, params)
    _refuse_statistics(loss.module)
    mode_sensitivity(mode, params, clip_norm)  # refuses bounds that do not fit before anything is computed
    if len(views) == 0:
        return zero_sum(params, clip_norm, mode)
    if backend == "auto":
        backend = choose_backend(loss.module, views, mode)
    with autocast("float32", views.device.type), repeatable_convolutions():  # the caller's autocast is none of ours
        if backend in ("sequential", "ghost"):
            batch = _Batch(loss, params, views, targets, precision)
            return (_sequential if backend == "sequential" else _ghost)(batch, clip_norm, mode)
        per_example = _reference if backend == "reference" else per_example_gradients
        rows = per_example(loss, params, views, targets, precision)
        return _clip_and_add(rows, clip_norm, mode)


def _refuse_statistics(module: nn.Module) -> None:
    for name, layer in module.named_modules():
        tracks = isinstance(layer, nn.modules.batchnorm._NormBase) and layer.training and layer.track_running_stats
        batch = isinstance(layer, nn.modules.batchnorm._BatchNorm) and (layer.training or layer.running_mean is None)
        if tracks or batch:
            raise PrivacyError(
                f"{name or type(layer).__name__} uses or keeps statistics of the batch, which no noise covers; "
                "use group norm, or freeze it and call eval()"
            )


@dataclass(frozen=True)
class _Batch:
    """What a backend computes gradients of: the arguments of `clipped_sum` of the same names."""

    loss: ExampleLoss
    params: Parameters
    views: Tensor
    targets: Tensor
    precision: str


def _reference(
    loss: ExampleLoss, params: Parameters, views: Tensor, targets: Tensor, precision: str
) -> dict[str, Tensor]:
    scale = loss_scale(precision)

    def scaled(params: Parameters, example: Tensor, labels: Tensor) -> Tensor:
        return loss(params, example, labels, precision) * scale

    with LayerNormsAsTheirWeights():
        rows = vmap(grad(scaled), in_dims=(None, 0, 0))(dict(params), views, targets)
    return {name: value / scale for name, value in rows.items()} if scale != 1 else rows


def _sequential(batch: _Batch, clip_norm: float, mode: Clipping) -> ClippedSum:
    scale = loss_scale(batch.precision)
    leaves = {name: _laid_out(value.detach()).requires_grad_() for name, value in batch.params.items()}
    nothing = zero_sum(leaves, clip_norm, mode)
    total, norms = nothing.total, []
    for example, labels in zip(batch.views, batch.targets, strict=True):
        with torch.enable_grad():
            value = batch.loss(leaves, example, labels, batch.precision) * scale
        gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        with full_float32(batch.views.device.type):
            rows = [one if one is None else one.float() for one in gradients]
            if scale != 1:
                rows = [row if row is None else row / scale for row in rows]
            zero = torch.zeros((), device=batch.views.device)
            squares = torch.stack([zero if row is None else row.square().sum() for row in rows])[:, None]
            norms.append(squares.sum(dim=0).sqrt())
            if isinstance(mode, Scaling):
                factors = mode.factors(squares, list(total), clip_norm)[:, 0].tolist()
            elif bool(torch.isfinite(norms[-1])):
                named = zip(total.items(), rows, strict=True)
                whole = {name: (torch.zeros_like(value) if row is None else row)[None] for (name, value), row in named}
                rows = [row[0] for row in clip_rows(whole, clip_norm, mode).values()]
                factors = [1.0] * len(rows)
            else:
                factors = [0.0] * len(rows)
            for value, row, factor in zip(total.values(), rows, factors, strict=True):
                # 0 * inf is nan: what counts for nothing is not added.
                if row is not None and factor > 0:
                    value.add_(row, alpha=factor)
    total = {name: value.contiguous() for name, value in total.items()}
    return ClippedSum(total, torch.cat(norms), nothing.sensitivity)


def _ghost(batch: _Batch, clip_norm: float, mode: Clipping) -> ClippedSum:
    if not isinstance(mode, Scaling):
        raise ParamsError(
            f"{type(mode).__name__} does not scale gradients, so that norms alone do not tell their sum; set the "
            "backend to auto"
        )
    factors, names = mode.factors, list(batch.params)
    total, norms = ghost_sum(
        batch.loss, batch.params, batch.views, batch.targets, batch.precision,
        lambda rows: factors(rows, names, clip_norm),
    )  # fmt: skip
    return ClippedSum(total, norms, mode_sensitivity(mode, names, clip_norm))


def _laid_out(weight: Tensor) -> Tensor:
    """A convolution's weight with channels last, the layout in which processors are faster (see benchmarks/results)."""
    if weight.dim() == 4 and weight.device.type == "cpu":
        return weight.contiguous(memory_format=torch.channels_last)
    return weight


def _clip_and_add(rows: Mapping[str, Tensor], clip_norm: float, mode: Clipping) -> ClippedSum:
    """Clip per-example gradients [n, *shape] and add them up; squares are summed as `Scaling.factors` wants them."""
    names = list(rows)
    with full_float32(rows[names[0]].device.type):
        rows = {name: value.detach().float() for name, value in rows.items()}
        squares = torch.stack([value.reshape(len(value), -1).square().sum(dim=1) for value in rows.values()])
        norms = squares.sum(dim=0).sqrt()
        factors = mode.factors(squares, names, clip_norm) if isinstance(mode, Scaling) else None
        counted = torch.isfinite(norms) if factors is None else (factors > 0).all(dim=0)
        if not bool(counted.all()):
            # 0 * inf is nan: a row that counts for nothing is left out.
            rows = {name: value[counted] for name, value in rows.items()}
            factors = None if factors is None else factors[:, counted]
        if factors is None:
            total = {name: value.sum(dim=0) for name, value in clip_rows(rows, clip_norm, mode).items()}
        else:
            total = {
                name: torch.tensordot(factor, value, dims=1)
                for (name, value), factor in zip(rows.items(), factors, strict=True)
            }
    return ClippedSum(total, norms, mode_sensitivity(mode, names, clip_norm))
