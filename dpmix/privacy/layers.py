"""What is known of each kind of layer: how its input and output gradient make n gradients of a mean over K views.

A weight's gradient of one example is one contraction of the layer's input with its output gradient, over the K views
and all positions at once. Group norm's few weights are instead repeated for each view, and autograd's gradients of them
are added up over the K views of each example. `dpmix.privacy.per_example` makes the passes over the network.

A layer's weight has to be used by calling that layer, once or several times, on tensors whose first dimension is the
batch. `unsupported_layers` names the layers of which that is not true. It cannot see a weight that other code reads
without calling its layer; `dpmix.privacy.model_checks.rules_cover` finds that by trial.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

# inputs [n, K, ...] and output gradients [n, K, ...] of one layer -> its per-example gradients by parameter name.
# Under autocast the input is what the layer was called with, in whatever precision, and the gradient is in that of the
# layer's output.
Rule = Callable[[Any, Tensor, Tensor], dict[str, Tensor]]


def _linear(layer: nn.Linear, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    x, gradient = x.to(gradient.dtype).flatten(1, -2), gradient.flatten(1, -2)
    rows = {"weight": torch.bmm(gradient.transpose(1, 2), x)}
    if layer.bias is not None:
        rows["bias"] = float32_sum(gradient, (1,))
    return rows


def _conv2d(layer: nn.Conv2d, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """One convolution with n groups whose batch is the K views: its weight gradient is all n gradients at once.

    Nothing is unfolded, so memory stays that of the activations.
    """
    n, x = len(x), x.to(gradient.dtype)
    rows = {"bias": float32_sum(gradient, (1, 3, 4))} if layer.bias is not None else {}
    padding = layer.padding
    if layer.kernel_size == (1, 1) and layer.groups == 1 and padding in ((0, 0), "same", "valid"):
        return rows | {"weight": _pointwise(layer, x, gradient)}
    if isinstance(padding, str):
        # (left, right) pairs from the last dimension backwards: what "same" and "valid" mean for this layer.
        x = torch.nn.functional.pad(x, layer._reversed_padding_repeated_twice)
        padding = (0, 0)
    weight = layer.weight
    if layer.groups == 1 and (gradients := _own_kernel(x)) and gradients.fits(x, gradient):
        own = gradients.weight_gradients(x, gradient, layer.kernel_size, layer.stride, padding, layer.dilation)
        return rows | {"weight": own}
    # cuDNN has fast grouped convolutions for channels last alone: up to six times as fast on an H200 in bfloat16.
    stack = _stacked_channels_last if x.is_cuda else _stacked
    like = weight.new_empty(n * weight.shape[0], *weight.shape[1:]).to(x.dtype)
    _, stacked, _ = torch.ops.aten.convolution_backward(
        stack(gradient),
        stack(x),
        like.to(memory_format=torch.channels_last) if x.is_cuda else like,
        None,
        layer.stride,
        padding,
        layer.dilation,
        False,
        (0, 0),
        n * layer.groups,
        (False, True, False),
    )
    rows["weight"] = stacked.reshape(n, *weight.shape)
    return rows


def _own_kernel(x: Tensor) -> ModuleType | None:
    """`dpmix.privacy.weight_gradients` on an NVIDIA GPU; None elsewhere, and where Triton is not installed."""
    if not x.is_cuda or torch.version.cuda is None:
        return None
    try:
        from dpmix.privacy import weight_gradients
    except ImportError:
        return None
    return weight_gradients


def _stacked(x: Tensor) -> Tensor:
    """[n, K, C, H, W] -> [K, n C, H, W], the examples side by side in the channels."""
    return x.transpose(0, 1).flatten(1, 2)


def _stacked_channels_last(x: Tensor) -> Tensor:
    """The same numbers with n C last in memory."""
    return x.permute(1, 3, 4, 0, 2).flatten(3).permute(0, 3, 1, 2)


def _pointwise(layer: nn.Conv2d, x: Tensor, gradient: Tensor) -> Tensor:
    """A 1 x 1 convolution is a linear layer at every position: [n, out, in, 1, 1] by one product for each example."""
    x = x[..., :: layer.stride[0], :: layer.stride[1]]
    x, gradient = (one.transpose(1, 2).flatten(2) for one in (x, gradient))
    return torch.bmm(gradient, x.transpose(1, 2))[..., None, None]


def _layer_norm(layer: nn.LayerNorm, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    normal = torch.nn.functional.layer_norm(_at_least_float32(x), layer.normalized_shape, eps=layer.eps)
    others = tuple(range(1, gradient.dim() - len(layer.normalized_shape)))
    rows = {"weight": float32_sum(gradient * normal, others)}
    if layer.bias is not None:
        rows["bias"] = float32_sum(gradient, others)
    return rows


def _embedding(layer: nn.Embedding, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    n = len(x)
    gradient = gradient.reshape(n, -1, gradient.shape[-1])
    if layer.padding_idx is not None:
        gradient = gradient * (x.reshape(n, -1, 1) != layer.padding_idx)
    weight = gradient.new_zeros(n, *layer.weight.shape)
    weight.scatter_add_(1, x.reshape(n, -1, 1).expand_as(gradient), gradient)
    return {"weight": weight}


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def float32_sum(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The sum over `dims` in float32 at least, as torch's own backward passes have it.

    >>> float32_sum(torch.ones(2, 3, dtype=torch.bfloat16), (1,))
    tensor([3., 3.])
    """
    return x.sum(dim=dims, dtype=torch.promote_types(x.dtype, torch.float32))


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    nn.LayerNorm: _layer_norm,
    nn.Embedding: _embedding,
}


def _group_norm(layer: nn.GroupNorm, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Group norm of images [m, C, ...] with a weight and a bias for each image, [m, C] both.

    All images are taken as one image of m C channels and m times the groups. The numbers are the same, and autograd's
    gradient of the weights is that of each image, at no more cost than that of all together.
    """
    m, c = x.shape[:2]
    one = x.reshape(1, m * c, *x.shape[2:])
    norm = torch.nn.functional.group_norm(one, m * layer.num_groups, weight.flatten(), bias.flatten(), layer.eps)
    return norm.view_as(x)


# layer, input [m, ...], parameters [m, *shape] by name -> the layer's output with parameters of its own for each image.
REPEATED: dict[type[nn.Module], Callable[..., Tensor]] = {nn.GroupNorm: _group_norm}


def unsupported_layers(module: nn.Module, image: Tensor) -> list[str]:
    """The layers that no rule covers, by name; empty if `vectorized` can be used for images like `image` [...].

    These are layers with parameters that have no rule, or none for the way they are set up; and layers whose input does
    not have one row for each image, so that an example's part in the gradient cannot be told from the others'.

    >>> unsupported_layers(nn.Linear(4, 2), torch.zeros(4))
    []
    >>> unsupported_layers(nn.Sequential(nn.Linear(4, 4), nn.PReLU()), torch.zeros(4))
    ['1']
    """
    names = []
    for name, layer in module.named_modules():
        own = {part for part, _ in layer.named_parameters(recurse=False)}
        if own and (not _has_rule(layer) or not own <= {"weight", "bias"} or _unusual(layer)):
            names.append(name or type(layer).__name__)
    return names or _irregular_calls(module, image)


def _has_rule(layer: nn.Module) -> bool:
    return type(layer) in RULES or type(layer) in REPEATED


def _unusual(layer: nn.Module) -> bool:
    """Whether a layer computes something else than its rule takes it to: another padding, or a replaced `forward`."""
    if "forward" in vars(layer):  # someone put another function in place of the class's
        return True
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode != "zeros"
    if isinstance(layer, nn.Embedding):
        return layer.max_norm is not None or layer.scale_grad_by_freq
    return False


_IRREGULAR: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], list[str]]] = WeakKeyDictionary()


def _irregular_calls(module: nn.Module, image: Tensor) -> list[str]:
    """The layers whose input does not have one row per image, or is overwritten later; found once for each shape.

    Two batch sizes are tried, because a dimension that is no batch may happen to be as long as one. The images are
    zeros: this looks at shapes, and never at data.
    """
    known = _IRREGULAR.setdefault(module, {})
    if tuple(image.shape) not in known:
        irregular: dict[str, None] = {}
        for size in (2, 3):
            calls: list[tuple[str, Tensor | None, int]] = []

            def keep(name: str, calls: list[tuple[str, Tensor | None, int]] = calls) -> Callable[..., None]:
                def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                    calls.append((name, inputs[0], inputs[0]._version) if inputs else (name, None, 0))

                return hook

            layers = [(name, layer) for name, layer in module.named_modules() if _has_rule(layer)]
            handles = [layer.register_forward_pre_hook(keep(name)) for name, layer in layers]
            try:
                with torch.no_grad():
                    module(image.new_zeros(size, *image.shape))
            finally:
                for handle in handles:
                    handle.remove()
            for name, x, version in calls:
                if x is None or x.dim() == 0 or len(x) != size or x._version != version:
                    irregular[name or "the layer itself"] = None
        known[tuple(image.shape)] = list(irregular)
    return known[tuple(image.shape)]
