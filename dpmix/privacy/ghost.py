"""Mixed ghost clipping: the clipped sum without a network's per-example gradients (Bu, Mao and Xu, NeurIPS 2022).

A first backward pass gives each example's norm, layer by layer; a second one gives the sum, weighted by the examples'
factors. What is computed for a layer is freed before the next layer is reached, so that memory holds the n gradients of
one layer at most, where the backend `vectorized` holds those of all layers.

A weight of d inputs and p outputs has the gradient A^T G of one example, A [T, d] being the layer's input and G [T, p]
its output gradient at each position. The K views of an example are K times as many positions: G has the 1 / K of their
mean, T counts the rows of all K, and the norm is that of the mean over views. Per layer the cheaper way is taken:

    2 T^2 <= d p    ghost: ||A^T G||^2 = sum of (A A^T) * (G G^T), two matrices of T x T numbers
    otherwise       instantiate: A^T G itself, d x p numbers

For a convolution A is its unfolded input, for an embedding the one-hot rows of its words. Norm layers and biases are
instantiated; so is a weight with several uses, whose gradient is a sum that has no such formula.

The factors enter at each layer, and not at the loss as the paper has them, because scaling does not commute with
rounding: a backward pass from a weighted loss adds up to 1e-3 more than C in bfloat16, and in float32 as much for an
example whose views nearly cancel. Here both passes are the same to the bit. What is instantiated is scaled and added as
it was measured; where a norm comes from Gram matrices, they and the weighted sum are in float64.
"""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dpmix.privacy.layers import float32_sum
from dpmix.privacy.loss import ExampleLoss, Parameters
from dpmix.privacy.per_example import Use, recorded_loss
from dpmix.privacy.precision import full_float32, loss_scale

# Gram matrices lose the square norm where positions cancel. At this part of ||A||^2 ||G||^2 they still have six digits;
# below it the gradient is instantiated, in float64 too.
_CANCELLED = 1e-9

# square norms [parameters, n] -> factors [parameters, n], as `dpmix.privacy.modes.Scaling.factors`.
Factors = Callable[[Tensor], Tensor]


def ghost_sum(
    loss: ExampleLoss, params: Parameters, views: Tensor, targets: Tensor, precision: str, factors_of: Factors
) -> tuple[dict[str, Tensor], Tensor]:
    """The sum over examples of their gradients, each scaled by factors that depend on its norms.

    Args:
        loss: the loss of one example.
        params: the trainable parameters by name.
        views: [n, K, ...], n > 0.
        targets: [n, K, classes].
        precision: of forward and backward passes; norms and sums are in float32 or better.
        factors_of: from square norms [parameters, n], in the order of `params`, to factors [parameters, n]. An example
            with a factor of zero is left out.

    Returns:
        The sum, one float32 tensor for each parameter, and the norms float32 [n].

    Raises:
        ParamsError: if a layer has no per-example rule.

    A sum without clipping:

    >>> module = nn.Linear(4, 2)
    >>> views, targets = torch.rand(3, 5, 4), torch.tensor([1.0, 0.0]).expand(3, 5, 2)
    >>> loss, params = ExampleLoss(module), dict(module.named_parameters())
    >>> total, norms = ghost_sum(loss, params, views, targets, "float32", torch.ones_like)
    >>> total["weight"].shape, norms.shape
    (torch.Size([2, 4]), torch.Size([3]))
    """
    n, k = views.shape[:2]
    value, start, uses = recorded_loss(loss, params, views, targets, precision)
    backward = _Backward(value, start, uses, (n, k), loss_scale(precision))

    found: dict[str, Tensor] = {}
    backward(
        instantiated=lambda name, rows: found.update({name: _square(rows)}),
        ghost=lambda name, use, gradient: found.update({name: _gram_squares(use, gradient)}),
        again=True,
    )
    zero = torch.zeros(n, device=views.device)
    squares = torch.stack([found.get(name, zero) for name in params])

    total = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in params.items()}
    factors = factors_of(squares)
    counted = (factors > 0).all(dim=0)
    everyone = bool(counted.all())
    factor = dict(zip(params, factors, strict=True))

    def add(name: str, rows: Tensor) -> None:
        # 0 * inf is nan: what counts for nothing is no part of a product.
        kept, rows = (factor[name], rows) if everyone else (factor[name][counted], rows[counted])
        total[name] = torch.tensordot(kept, rows, dims=1)

    def add_ghost(name: str, use: Use, gradient: Tensor) -> None:
        if not everyone:
            gradient = gradient.masked_fill(_along(~counted, gradient), 0)
            use = use._replace(x=use.inputs.masked_fill(_along(~counted.repeat_interleave(k), use.inputs), 0))
        weighted = gradient * _along(factor[name], gradient)
        # As if all were the views of one example, whose gradient is the sum.
        total[name] = use.rows(weighted.reshape(1, n * k, *gradient.shape[2:]))[name][0].float()

    backward(instantiated=add, ghost=add_ghost, again=False)
    return total, squares.sum(dim=0).sqrt()


class _Backward:
    """Backward passes that show each parameter's gradients as they come, and keep none."""

    def __init__(self, value: Tensor, start: Tensor, uses: list[Use], shape: tuple[int, int], scale: float) -> None:
        self._value, self._start, self._uses, self._shape, self._scale = value, start, uses, shape, scale
        counts = Counter(name for use in uses for name in use.names.values())
        self._shared = {name: count for name, count in counts.items() if count > 1}

    def __call__(
        self, instantiated: Callable[[str, Tensor], None], ghost: Callable[[str, Use, Tensor], None], again: bool
    ) -> None:
        """One backward pass, which calls one of two functions for each parameter that the loss depends on.

        Args:
            instantiated: is given its name and its gradients, float32 [n, *shape].
            ghost: is given its name, its use and the output gradient [n, K, ...] of it, both in float64.
            again: whether another pass follows.
        """
        left, sums = dict(self._shared), dict[str, Tensor]()

        def visit(use: Use, gradient: Tensor) -> None:
            gradient = gradient.view(*self._shape, *gradient.shape[1:])
            weight = use.names.get("weight")
            ruled = type(use.layer) in GRAMS and weight not in self._shared
            if weight is not None and ruled and gram_pays(use.layer, gradient):
                with full_float32(gradient.device.type):
                    ghost(weight, *_in_float64(use, gradient, self._scale))
                if bias := use.names.get("bias"):
                    show(bias, float32_sum(gradient, _positions(use.layer, gradient)))
                return
            for name, rows in use.rows(gradient).items():
                show(name, rows)

        def show(name: str, rows: Tensor) -> None:
            rows = rows.float() / self._scale if self._scale != 1 else rows.float()
            if name in left:
                sums[name] = sums[name] + rows if name in sums else rows
                left[name] -= 1
                if left[name]:
                    return
                rows = sums.pop(name)
            with full_float32(rows.device.type):
                instantiated(name, rows)

        def hook_of(use: Use) -> Callable[[tuple[Tensor | None, ...]], None]:
            def hook(gradients: tuple[Tensor | None, ...]) -> None:
                if (gradient := gradients[use.edge.output_nr]) is not None:
                    visit(use, gradient)

            return hook

        handles = [use.edge.node.register_prehook(hook_of(use)) for use in self._uses]
        try:
            torch.autograd.grad(self._value, self._start, retain_graph=again, allow_unused=True)
        finally:
            for handle in handles:
                handle.remove()
        for name, rows in sums.items():  # of which some use did not reach the loss
            with full_float32(rows.device.type):
                instantiated(name, rows)


def _in_float64(use: Use, gradient: Tensor, scale: float) -> tuple[Use, Tensor]:
    """A use and its gradient; the input as autocast computed with it, in the precision of the output."""
    x = use.inputs
    x = x.to(gradient.dtype).double() if x.is_floating_point() else x
    return use._replace(x=x, names={"weight": use.names["weight"]}), gradient.double() / scale


def _square(rows: Tensor) -> Tensor:
    """[n, *shape] -> [n]."""
    return rows.reshape(len(rows), -1).square().sum(dim=1)


def _gram_squares(use: Use, gradient: Tensor) -> Tensor:
    """Square norms float32 [n] of a weight's gradients, by Gram matrices in float64."""
    x = use.inputs.view(*gradient.shape[:2], *use.inputs.shape[1:])
    inputs, outputs = GRAMS[type(use.layer)](use.layer, x, gradient)
    squares = (inputs * outputs).reshape(len(x), -1).sum(dim=1)
    traces = [gram.diagonal(dim1=-2, dim2=-1).sum(dim=-1) for gram in (inputs, outputs)]
    cancelled = squares < _CANCELLED * (traces[0] * traces[1]).reshape(len(x), -1).sum(dim=1)
    if bool(cancelled.any()):
        few = use._replace(x=x[cancelled].flatten(0, 1)).rows(gradient[cancelled])
        squares[cancelled] = _square(few[use.names["weight"]])
    return squares.float()


def gram_pays(layer: nn.Module, gradient: Tensor) -> bool:
    """Whether two Gram matrices are smaller than the weight: 2 T^2 <= d p, for each group of a convolution.

    Args:
        layer: linear, convolutional or embedding.
        gradient: of the layer's output, [n, K, ...], of which the shape tells T.

    >>> gram_pays(nn.Linear(8, 4), torch.zeros(1, 4, 4)), gram_pays(nn.Linear(8, 4), torch.zeros(1, 5, 4))
    (True, False)
    """
    positions = 1
    for dim in _positions(layer, gradient):
        positions *= gradient.shape[dim]
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return 2 * positions**2 * groups <= layer.get_parameter("weight").numel()


def _positions(layer: nn.Module, gradient: Tensor) -> tuple[int, ...]:
    """The dimensions of a gradient [n, K, ...] that count views and positions: all but examples and outputs."""
    outputs = 2 if isinstance(layer, nn.Conv2d) else gradient.dim() - 1
    return tuple(dim for dim in range(1, gradient.dim()) if dim != outputs)


def _along(values: Tensor, x: Tensor) -> Tensor:
    """Values [n], one for each row of x [n, ...]."""
    return values.view(-1, *[1] * (x.dim() - 1))


def _gram(rows: Tensor) -> Tensor:
    """[..., T, d] -> [..., T, T]."""
    return rows @ rows.mT


def _linear(layer: nn.Linear, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return _gram(x.flatten(1, -2)), _gram(gradient.flatten(1, -2))


def _conv2d(layer: nn.Conv2d, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    (n, k), groups, padding = x.shape[:2], layer.groups, layer.padding
    images = x.flatten(0, 1)
    if isinstance(padding, str):
        images, padding = nn.functional.pad(images, layer._reversed_padding_repeated_twice), (0, 0)
    columns = nn.functional.unfold(images, layer.kernel_size, layer.dilation, padding, layer.stride)
    # [n K, C R S, P Q] and [n K, O, P, Q] -> [n, groups, K P Q, ...]
    inputs, outputs = (
        one.reshape(n, k, groups, one.shape[1] // groups, -1).permute(0, 2, 1, 4, 3).flatten(2, 3)
        for one in (columns, gradient.flatten(0, 1))
    )
    return _gram(inputs), _gram(outputs)


def _embedding(layer: nn.Embedding, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    words, gradient = x.flatten(1), gradient.flatten(1, -2)
    if layer.padding_idx is not None:
        gradient = gradient * (words != layer.padding_idx)[..., None]
    return (words[:, :, None] == words[:, None, :]).to(gradient.dtype), _gram(gradient)


# layer, input [n, K, ...], output gradient [n, K, ...] -> A A^T and G G^T, [n, T, T], or [n, groups, T, T].
GRAMS: dict[type[nn.Module], Callable[..., tuple[Tensor, Tensor]]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    nn.Embedding: _embedding,
}
