import pytest
import torch
from torch import Tensor, nn

from dpmix.errors import ParamsError
from dpmix.privacy.layers import REPEATED, RULES, unsupported_layers
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.per_example import per_example_gradients
from tests.privacy.architectures import batch, flat, naive, parameters


def agree(module: nn.Module, image: Tensor, n: int = 3, k: int = 2, seed: int = 0) -> None:
    views, targets = batch(module, image, n, k, seed)
    params = parameters(module)
    found = per_example_gradients(ExampleLoss(module), params, views, targets)
    expected = naive(module, params, views, targets)
    assert found.keys() == params.keys()
    scale = float(flat(expected).norm())
    for name, rows in found.items():
        assert rows.shape == (n, *params[name].shape)
        distance = float((rows.double() - expected[name]).norm())
        assert distance <= 2e-4 * scale + 1e-12, f"{name} is off by {distance / scale} of the gradient"


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, (2, 3), stride=(2, 1), padding=(0, 2), dilation=(2, 1), groups=2, bias=False),
        nn.Conv2d(4, 4, 2, padding="same"),
        nn.Conv2d(4, 4, 4, padding="same", dilation=2, groups=4),
        nn.Conv2d(4, 2, 3, padding="valid"),
        nn.Conv2d(4, 4, 3, stride=3, padding=2),
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 3, 1, stride=(2, 3), bias=False),
        nn.Conv2d(4, 4, 1, padding=1),
        nn.Conv2d(4, 4, 1, padding="same", groups=2),
        nn.GroupNorm(1, 4),
        nn.GroupNorm(4, 4, eps=0.1),
        nn.LayerNorm((4, 6, 6)),
        nn.LayerNorm(6, eps=0.1),
        nn.LayerNorm(6, bias=False),
        nn.Linear(6, 5),
        nn.Linear(6, 1, bias=False),
    ],
    ids=str,
)
def test_each_layer(layer):
    agree(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), layer, nn.Flatten()), torch.zeros(1, 8, 8))


def test_every_kind_of_layer_is_tried():
    assert {*RULES, *REPEATED} == {nn.Conv2d, nn.GroupNorm, nn.LayerNorm, nn.Linear, nn.Embedding}


def patched() -> nn.Module:
    """A layer in whose instance someone put another function."""
    layer = nn.Linear(4, 4)
    layer.forward = lambda x: torch.tanh(nn.functional.linear(x, layer.weight, layer.bias))
    return layer


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Sequence(nn.Module):
    """Positions first, as attention layers have it by default."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.transpose(0, 1)).mean(dim=0)


class Flattened(nn.Module):
    """All positions of all images in one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flatten(0, 1)).view(*x.shape[:2], 4).mean(dim=1)


@pytest.mark.parametrize(
    ("module", "image", "names"),
    [
        (nn.Conv1d(1, 1, 3), torch.zeros(1, 8), ["Conv1d"]),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), torch.zeros(1, 8, 8), ["Conv2d"]),
        (nn.Sequential(nn.Linear(4, 4), Scale()), torch.zeros(4), ["1"]),
        (patched(), torch.zeros(4), ["Linear"]),
        (nn.BatchNorm2d(2).eval(), torch.zeros(2, 4, 4), ["BatchNorm2d"]),
        (nn.Embedding(6, 4, scale_grad_by_freq=True), torch.zeros(5, dtype=torch.int64), ["Embedding"]),
        (nn.Embedding(6, 4, max_norm=1.0), torch.zeros(5, dtype=torch.int64), ["Embedding"]),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), torch.zeros(4), None),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), torch.zeros(4), None),
        (nn.MultiheadAttention(4, 2), torch.zeros(5, 4), None),
        (Sequence(), torch.zeros(5, 4), ["inner"]),
        (Sequence(), torch.zeros(2, 4), ["inner"]),
        (Flattened(), torch.zeros(5, 4), ["inner"]),
    ],
)
def test_layers_without_a_rule(module, image, names):
    found = unsupported_layers(module, image)
    assert found == names if names is not None else found
    with pytest.raises(ParamsError, match="no per-example rule for"):
        per_example_gradients(ExampleLoss(module), parameters(module), image[None, None], torch.ones(1, 1, 4))
