"""The loss of one example: the mean over its K views of soft cross-entropy, or of any criterion."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dpmix.errors import ParamsError, suggestion
from dpmix.privacy.precision import autocast

Parameters = Mapping[str, Tensor]


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows of -sum_c y_c log p_c, in float32: logits [m, classes], soft labels [m, classes] -> scalar.

    Raises:
        ValueError: if the shapes differ, as with integer labels [m], which would be broadcast to another loss.

    >>> soft_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.3, 0.7]]))
    tensor(0.6931)
    """
    if logits.shape != targets.shape:
        raise ValueError(
            f"targets {tuple(targets.shape)} are not soft labels of the logits' shape {tuple(logits.shape)}; one-hot "
            f"them: torch.nn.functional.one_hot(labels, {logits.shape[-1] if logits.dim() else 1}).float()"
        )
    return -(targets * torch.log_softmax(logits.float(), dim=-1)).sum(dim=-1).mean()


def check_names(module: nn.Module, params: Parameters) -> None:
    """Check that each of `params` is named as a parameter of the module.

    Raises:
        ParamsError: for another name, or none.

    >>> check_names(nn.Linear(4, 2), {"wieght": torch.zeros(2, 4)})
    Traceback (most recent call last):
    dpmix.errors.ParamsError: the module has no parameter 'wieght'; did you mean 'weight'?
    """
    names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    if not params:
        raise ParamsError("there are no parameters; give those to train: dict(module.named_parameters())")
    for name in params:
        if name not in names:
            raise ParamsError(f"the module has no parameter {name!r}; {suggestion(name, names)}")


@dataclass(frozen=True)
class ExampleLoss:
    """The loss of one example: the mean over its K views of `criterion`, as a function of the parameters.

    Args:
        module: any module that treats the images of a batch independently (no batch norm in train mode).
        criterion: (outputs [K, ...], targets [K, ...]) -> scalar mean over the K rows.

    >>> loss = ExampleLoss(nn.Linear(4, 2))
    >>> params = dict(loss.module.named_parameters())
    >>> loss(params, torch.zeros(3, 4), torch.tensor([[1.0, 0.0]] * 3)).shape
    torch.Size([])
    """

    module: nn.Module
    criterion: Callable[[Tensor, Tensor], Tensor] = soft_cross_entropy

    def __call__(self, params: Parameters, views: Tensor, targets: Tensor, precision: str = "float32") -> Tensor:
        """The loss of one example: views [K, ...], targets [K, ...] -> scalar; `params` take the module's place."""
        with autocast(precision, views.device.type):
            outputs = functional_call(self.module, dict(params), (views,))
        return self.criterion(outputs if precision == "float32" else outputs.float(), targets)
