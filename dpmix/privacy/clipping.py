"""The clipped sum: per-example gradients of a mean over K views, clipped to C, added over the batch (Eq. 4).

One function, several backends, one result. For n examples with K views each, every backend computes for example i

    g_i = 1/K sum_k grad l(theta; x_ik, y_ik),    total = sum_i g_i min(1, C / ||g_i||),

with the norm taken in float32 of the very tensor that is added. An example whose gradient is not finite contributes
zero. Removing or adding one example moves the total by at most C, whatever its views are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from dpmix.errors import PrivacyError
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
        """The loss of one example: views [K, ...], targets [K, ...] -> scalar."""
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
        PrivacyError: if the module mixes examples in its forward pass, or keeps statistics of them.
        ValueError: for an unknown backend, a clip norm that is not positive, or shapes that do not agree.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; there are {', '.join(BACKENDS)}")
    if not clip_norm > 0:
        raise ValueError(f"the clip norm must be positive, not {clip_norm}")
    if views.shape[:2] != targets.shape[:2]:
        raise ValueError(f"views {tuple(views.shape[:2])} and targets {tuple(targets.shape[:2])} differ in [n, K]")
    if views.shape[1] == 0:
        raise ValueError("there is no mean over K = 0 views")
    _refuse_statistics(loss.module)
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
    if unsupported_layers(module, views[0, 0]):
        return "sequential" if views.device.type == "cpu" else "reference"
    if views.device.type != "cpu":
        return "vectorized"
    work = _multiply_adds(module, views[0, :1]) * views.shape[1]
    return "sequential" if work > _SEQUENTIAL_PAYS else "vectorized"


def _refuse_statistics(module: nn.Module) -> None:
    for name, layer in module.named_modules():
        tracks = isinstance(layer, nn.modules.batchnorm._NormBase) and layer.training and layer.track_running_stats
        batch = isinstance(layer, nn.modules.batchnorm._BatchNorm) and (layer.training or layer.running_mean is None)
        if tracks or batch:
            raise PrivacyError(
                f"{name or type(layer).__name__} uses or keeps statistics of the batch, which no noise covers; "
                "use group norm, or freeze it and call eval()"
            )


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


_WORK: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], float]] = WeakKeyDictionary()


def _multiply_adds(module: nn.Module, image: Tensor) -> float:
    """Forward multiply-adds of the weights for one image [1, ...], counted once for each module and shape.

    By hand, as torch's own counter takes seconds to start.
    """
    known = _WORK.setdefault(module, {})
    shape = tuple(image.shape)
    if shape not in known:
        work = [0]

        def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                work[0] += output.numel() * layer.weight[0].numel()

        handles = [layer.register_forward_hook(count) for layer in module.modules()]
        try:
            with torch.no_grad():
                module(torch.zeros_like(image))
        finally:
            for handle in handles:
                handle.remove()
        known[shape] = work[0]
    return known[shape]
