"""The clipped sum: per-example gradients of a mean over K views, clipped to C, added over the batch (Eq. 4).

One function, several backends, one result. For n examples with K views each, every backend computes for example i

    g_i = 1/K sum_k grad l(theta; x_ik, y_ik),    total = sum_i g_i min(1, C / ||g_i||),

with the norm taken in float32 of the very tensor that is added. An example whose gradient is not finite contributes
zero. Removing or adding one example moves the total by at most C, whatever its views are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from dpmix.privacy.layers import per_example_gradients, unsupported_layers

Parameters = Mapping[str, Tensor]
BACKENDS = ("auto", "reference", "sequential", "vectorized")

# The sequential backend costs a forward and backward call per example; below this many multiply-adds per example the
# calls cost more than the arithmetic, and batching the examples wins (measured on two cores).
_SEQUENTIAL_PAYS = 3e8


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows of -sum_c y_c log p_c, in float32: logits [m, classes], soft labels [m, classes] -> scalar."""
    return -(targets * torch.log_softmax(logits.float(), dim=-1)).sum(dim=-1).mean()


@dataclass(frozen=True)
class ExampleLoss:
    """The loss of one example: the mean over its K views of `criterion`, as a function of the parameters.

    Args:
        module: any module that treats the images of a batch independently (no batch norm in train mode).
        criterion: (outputs [K, ...], targets [K, ...]) -> scalar mean over the K rows.
    """

    module: nn.Module
    criterion: Callable[[Tensor, Tensor], Tensor] = soft_cross_entropy

    def __call__(self, params: Parameters, views: Tensor, targets: Tensor) -> Tensor:
        return self.criterion(functional_call(self.module, dict(params), (views,)), targets)


@dataclass(frozen=True)
class ClippedSum:
    """What one physical batch contributes to a step.

    Attributes:
        total: the sum over examples of the clipped gradients, one float32 tensor per parameter.
        norms: float32 [n], ||g_i|| before clipping (not finite where the gradient is not).
        sensitivity: how far adding or removing one example can move `total` in L2 norm.
    """

    total: dict[str, Tensor]
    norms: Tensor
    sensitivity: float

    def __add__(self, other: "ClippedSum") -> "ClippedSum":
        total = {name: value + other.total[name] for name, value in self.total.items()}
        return ClippedSum(total, torch.cat([self.norms, other.norms]), max(self.sensitivity, other.sensitivity))


def zero_sum(params: Parameters, clip_norm: float) -> ClippedSum:
    """The clipped sum of no examples: the start of a logical batch, and all of an empty one."""
    device = next(iter(params.values())).device
    total = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in params.items()}
    return ClippedSum(total, torch.zeros(0, device=device), clip_norm)


def clip_factors(norms: Tensor, clip_norm: float) -> Tensor:
    """min(1, C / ||g||) for norms [n]; 0 where the norm is not finite."""
    factors = torch.clamp(clip_norm / norms.clamp_min(torch.finfo(norms.dtype).tiny), max=1.0)
    return torch.where(torch.isfinite(norms), factors, torch.zeros_like(factors))


def clipped_sum(
    loss: ExampleLoss,
    params: Parameters,
    views: Tensor,
    targets: Tensor,
    clip_norm: float,
    *,
    backend: str = "auto",
) -> ClippedSum:
    """The clipped sum of one physical batch (Algorithm 1, inner loop).

    Args:
        loss: the loss of one example.
        params: trainable parameters by name; the module's other parameters are constants.
        views: [n, K, ...], the views S and S' of each example.
        targets: [n, K, classes], their soft labels.
        clip_norm: C > 0.
        backend: `reference` (vmap of grad), `sequential` (one example at a time through plain autograd),
            `vectorized` (n per-example gradients per layer), or `auto`.

    Raises:
        ValueError: for an unknown backend, a clip norm that is not positive, or shapes that do not agree.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; there are {', '.join(BACKENDS)}")
    if not clip_norm > 0:
        raise ValueError(f"the clip norm must be positive, not {clip_norm}")
    if views.shape[:2] != targets.shape[:2]:
        raise ValueError(f"views {tuple(views.shape[:2])} and targets {tuple(targets.shape[:2])} differ in [n, K]")
    if len(views) == 0:
        return zero_sum(params, clip_norm)
    if backend == "auto":
        backend = choose_backend(loss.module, views)
    if backend == "sequential":
        return _sequential(loss, params, views, targets, clip_norm)
    per_example = _reference if backend == "reference" else per_example_gradients
    return _clip_and_add(per_example(loss, params, views, targets), clip_norm)


def choose_backend(module: nn.Module, views: Tensor) -> str:
    """The fastest backend for this module, device and shape [n, K, ...]."""
    if unsupported_layers(module):
        return "sequential" if views.device.type == "cpu" else "reference"
    if views.device.type != "cpu":
        return "vectorized"
    work = _multiply_adds(module, views[0, :1]) * views.shape[1]
    return "sequential" if work > _SEQUENTIAL_PAYS else "vectorized"


def _reference(loss: ExampleLoss, params: Parameters, views: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return vmap(grad(loss), in_dims=(None, 0, 0))(dict(params), views, targets)


def _sequential(loss: ExampleLoss, params: Parameters, views: Tensor, targets: Tensor, clip_norm: float) -> ClippedSum:
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    total = zero_sum(params, clip_norm).total
    norms = []
    for example, labels in zip(views, targets, strict=True):
        gradients = torch.autograd.grad(loss(leaves, example, labels), list(leaves.values()), allow_unused=True)
        rows = {
            name: (torch.zeros_like(leaf) if value is None else value).float()[None]
            for (name, leaf), value in zip(leaves.items(), gradients, strict=True)
        }
        one = _clip_and_add(rows, clip_norm)
        for name, value in one.total.items():
            total[name] += value
        norms.append(one.norms)
    return ClippedSum(total, torch.cat(norms), clip_norm)


def _clip_and_add(rows: Mapping[str, Tensor], clip_norm: float) -> ClippedSum:
    """Clip per-example gradients [n, *shape] and add them up."""
    rows = {name: value.detach().float() for name, value in rows.items()}
    squares = torch.stack([value.flatten(1).square().sum(dim=1) for value in rows.values()])
    norms = squares.sum(dim=0).sqrt()
    factors = clip_factors(norms, clip_norm)
    counted = factors > 0
    if not bool(counted.all()):
        # 0 * inf is nan: a row that counts for nothing is left out.
        rows = {name: value[counted] for name, value in rows.items()}
        factors = factors[counted]
    total = {name: torch.tensordot(factors, value, dims=1) for name, value in rows.items()}
    return ClippedSum(total, norms, clip_norm)


_WORK: dict[tuple[int, tuple[int, ...]], float] = {}


def _multiply_adds(module: nn.Module, image: Tensor) -> float:
    """Forward multiply-adds of one image, counted once for each module and shape."""
    from torch.utils.flop_counter import FlopCounterMode

    key = (id(module), tuple(image.shape))
    if key not in _WORK:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(image)
        _WORK[key] = counter.get_total_flops() / 2
    return _WORK[key]
