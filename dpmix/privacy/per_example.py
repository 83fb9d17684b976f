"""Per-example gradients of a network: n gradients of a mean over K views, never n K.

One forward and one backward pass over all n K views. Parameters are constants during the backward pass, so autograd
computes output gradients alone; the rules of `dpmix.privacy.layers` make each layer's gradients from them.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call

from dpmix.errors import ParamsError
from dpmix.privacy.layers import REPEATED, RULES, float32_sum, unsupported_layers
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.precision import autocast, loss_scale


class Use(NamedTuple):
    """One use of trainable parameters in a forward pass over n K images.

    Attributes:
        layer: the layer that was called.
        names: full names of its trainable parameters, by their names in the layer.
        x: the layer's input [n K, ...]; None where the parameter was repeated for each image.
        edge: where in autograd's graph the gradient arrives: that of the layer's output, or of the repeated parameter.

    The gradients of a weight of one row, for two examples of three views:

    >>> x, gradient = torch.ones(6, 4), torch.ones(2, 3, 1)
    >>> layer = nn.Linear(4, 1, bias=False)
    >>> use = Use(layer, {"weight": "head.weight"}, x, get_gradient_edge(layer(x)))
    >>> use.rows(gradient)["head.weight"].shape
    torch.Size([2, 1, 4])
    """

    layer: nn.Module
    names: Mapping[str, str]
    x: Tensor | None
    edge: GradientEdge

    @property
    def inputs(self) -> Tensor:
        """`x` of a layer that has a rule."""
        assert self.x is not None
        return self.x

    def rows(self, gradient: Tensor) -> dict[str, Tensor]:
        """Per-example gradients [n, *shape] by full name, from what arrives at the edge, [n, K, ...].

        n and K may be any whose product is that of the forward pass: with n = 1 the only row is the sum.
        """
        if self.x is None:
            return dict.fromkeys(self.names.values(), float32_sum(gradient, (1,)))
        rows = RULES[type(self.layer)](self.layer, self.x.view(*gradient.shape[:2], *self.x.shape[1:]), gradient)
        return {self.names[part]: row for part, row in rows.items() if part in self.names}


def recorded_loss(
    loss: ExampleLoss, params: Mapping[str, Tensor], views: Tensor, targets: Tensor, precision: str
) -> tuple[Tensor, Tensor, list[Use]]:
    """The loss of all examples with parameters that are constants, and where their gradients can be had.

    Args:
        loss, params, views, targets, precision: as in `per_example_gradients`.

    Returns:
        The sum over examples of the mean over their views, times `loss_scale`; a zero without dimensions on which every
        use's gradient depends, so that a backward pass to it reaches them all; the uses, in the order of the calls.

    Raises:
        ParamsError: if `unsupported_layers` finds any.

    >>> module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    >>> params = dict(module.named_parameters())
    >>> views, targets = torch.rand(3, 5, 4), torch.tensor([1.0, 0.0]).expand(3, 5, 2)
    >>> value, start, uses = recorded_loss(ExampleLoss(module), params, views, targets, "float32")
    >>> [use.names["weight"] for use in uses]
    ['0.weight', '2.weight']
    """
    if unsupported := unsupported_layers(loss.module, views[0, 0]):
        raise ParamsError(f"no per-example rule for {', '.join(unsupported)}; set the backend to auto or reference")
    start = torch.zeros((), device=views.device, requires_grad=True)
    uses: list[Use] = []
    # By identity, because layers may share a parameter, of which only one has its name.
    full_names = {loss.module.get_parameter(name): name for name in params}
    layers: dict[nn.Module, dict[str, str]] = {}
    for layer in loss.module.modules():
        parts = {part: full_names.get(value) for part, value in layer.named_parameters(recurse=False)}
        if trainable := {part: name for part, name in parts.items() if name is not None}:
            layers[layer] = trainable

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # The first layer of each path starts the graph: nothing before it needs a gradient.
        if not output.requires_grad:
            output = output + start
        # The edge and not the tensor, which an activation may overwrite in place.
        uses.append(Use(layer, layers[layer], inputs[0].detach(), get_gradient_edge(output)))
        return output

    def repeated(layer: nn.Module, x: Tensor) -> Tensor:
        own = {part: value.expand(len(x), *value.shape) for part, value in layer.named_parameters(recurse=False)}
        for part, name in layers[layer].items():
            own[part] = own[part].detach() + start
            uses.append(Use(layer, {part: name}, None, get_gradient_edge(own[part])))
        return REPEATED[type(layer)](layer, x, **own)

    by_rule, by_copies = ([layer for layer in layers if type(layer) in kind] for kind in (RULES, REPEATED))
    handles = [layer.register_forward_hook(hook) for layer in by_rule]
    constants = {name: value.detach() for name, value in loss.module.named_parameters()}
    constants.update({name: value.detach() for name, value in params.items()})
    try:
        for layer in by_copies:
            layer.forward = partial(repeated, layer)
        with torch.enable_grad():
            with autocast(precision, views.device.type):
                outputs = functional_call(loss.module, constants, (views.flatten(0, 1),))
            if precision != "float32":
                outputs = outputs.float()
            # criterion is a mean over rows: n times it is the sum over examples of the mean over their views.
            value = loss.criterion(outputs, targets.flatten(0, 1)) * (len(views) * loss_scale(precision))
    finally:
        for handle in handles:
            handle.remove()
        for layer in by_copies:
            vars(layer).pop("forward", None)
    return value, start, uses


def per_example_gradients(
    loss: ExampleLoss, params: Mapping[str, Tensor], views: Tensor, targets: Tensor, precision: str = "float32"
) -> dict[str, Tensor]:
    """The gradient of each example's mean loss over its K views, in one forward and one backward pass.

    Args:
        loss: the loss of one example.
        params: the trainable parameters by name, [*shape] each.
        views: [n, K, ...].
        targets: [n, K, classes].
        precision: of both passes and of each layer's contraction.

    Returns:
        float32 [n, *shape] for each of `params`.

    Raises:
        ParamsError: if `unsupported_layers` finds any.

    >>> module = nn.Linear(4, 2)
    >>> views, targets = torch.rand(3, 5, 4), torch.tensor([1.0, 0.0]).expand(3, 5, 2)
    >>> rows = per_example_gradients(ExampleLoss(module), dict(module.named_parameters()), views, targets)
    >>> rows["weight"].shape
    torch.Size([3, 2, 4])
    """
    n, k = views.shape[:2]
    scale = loss_scale(precision)
    value, _, uses = recorded_loss(loss, params, views, targets, precision)
    rows: dict[str, Tensor] = {}
    gradients = torch.autograd.grad(value, [use.edge for use in uses], allow_unused=True)
    for use, gradient in zip(uses, gradients, strict=True):
        if gradient is None:
            continue
        for name, row in use.rows(gradient.view(n, k, *gradient.shape[1:])).items():
            # A layer that is used twice, or shares its weight, has one gradient: the sum.
            row = row.float() / scale if scale != 1 else row.float()
            rows[name] = rows[name] + row if name in rows else row
    return {name: rows[name] if name in rows else value.new_zeros(n, *value.shape) for name, value in params.items()}
