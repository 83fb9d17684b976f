"""The loss of one example: the mean over its K views of soft cross-entropy, or of any criterion."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dpmix.privacy.precision import (
    autocast,
)

Parameters = Mapping[str, Tensor]


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows of -sum_c y_c log p_c, in float32: logits [m, classes], soft labels [m, classes] -> scalar.

    >>> soft_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.3, 0.7]]))
    tensor(0.6931)
    """
    return -(targets * torch.log_softmax(logits.float(), dim=-1)).sum(dim=-1).mean()


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
