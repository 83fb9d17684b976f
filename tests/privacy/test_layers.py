import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dpmix.errors import ParamsError
from dpmix.privacy.layers import REPEATED, RULES, unsupported_layers
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.per_example import per_example_gradients
from tests.privacy.architectures import Tied, batch, flat, image_networks, naive, parameters, text_networks


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


@given(st.one_of(image_networks(), text_networks()), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=60)
def test_rows_are_the_examples_gradients(network, n, k, seed):
    module, image = network
    assert unsupported_layers(module, image) == []
    agree(module, image, n, k, seed)


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


def test_memory_formats():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3), nn.Flatten())
    module = module.to(memory_format=torch.channels_last)
    agree(module, torch.zeros(3, 8, 8))


def test_shared_parameters_have_the_sum():
    agree(Tied(6, 4, None), torch.zeros(5, dtype=torch.int64))
    twice = nn.Linear(4, 4)
    agree(nn.Sequential(twice, nn.Tanh(), twice, nn.Tanh(), twice), torch.zeros(4))


def test_a_residual_added_in_place():
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            y = self.second(torch.relu(x))
            y += x
            y *= 2
            return self.third(y).flatten(1)

    agree(Residual(), torch.zeros(2, 5, 5))


def test_an_input_that_is_overwritten_is_refused():
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(self.first(x))
            y = self.second(x)
            x.mul_(2)
            return x + y

    assert unsupported_layers(Overwriting(), torch.zeros(4)) == ["second"]


def test_a_layer_that_is_not_used():
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle, self.dropped = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.dropped(x)
            return self.used(x)

    module = Idle()
    agree(module, torch.zeros(4))
    rows = per_example_gradients(ExampleLoss(module), parameters(module), torch.rand(2, 2, 4), torch.ones(2, 2, 3))
    assert not rows["idle.weight"].any()
    assert not rows["dropped.bias"].any()


def test_frozen_layers_are_left_out():
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))
    params = {name: value for name, value in parameters(module).items() if name.startswith("2")}
    views, targets = torch.rand(3, 2, 4), torch.full((3, 2, 3), 1 / 3)
    rows = per_example_gradients(ExampleLoss(module), params, views, targets)
    expected = naive(module, parameters(module), views, targets)
    assert rows.keys() == params.keys()
    assert all(torch.allclose(rows[name].double(), expected[name], atol=1e-6) for name in rows)


@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("layer", [nn.GroupNorm(2, 4), nn.Linear(4, 4)], ids=["group norm", "linear"])
def test_one_parameter_of_a_layer(layer, part):
    module = nn.Sequential(nn.Linear(4, 4), layer, nn.Tanh(), nn.Linear(4, 3))
    params = {name: value + 0.5 for name, value in parameters(module).items() if name == f"1.{part}"}
    views, targets = torch.rand(3, 2, 4), torch.full((3, 2, 3), 1 / 3)
    rows = per_example_gradients(ExampleLoss(module), params, views, targets)
    expected = naive(module, {**parameters(module), **params}, views, targets)
    assert rows.keys() == params.keys()
    assert rows[f"1.{part}"].any()
    assert torch.allclose(rows[f"1.{part}"].double(), expected[f"1.{part}"], atol=1e-6)


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


def test_nothing_is_left_behind_after_an_error():
    module = nn.Sequential(nn.Linear(4, 4), nn.GroupNorm(2, 4), nn.Linear(4, 3))

    def broken(outputs: Tensor, targets: Tensor) -> Tensor:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        per_example_gradients(ExampleLoss(module, broken), parameters(module), torch.rand(1, 1, 4), torch.ones(1, 1, 3))
    assert not any(layer._forward_hooks or "forward" in vars(layer) for layer in module.modules())
