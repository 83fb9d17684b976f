"""Gradients of each example, of whole networks, against a loop over examples."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dpmix.privacy.layers import unsupported_layers
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.per_example import per_example_gradients
from tests.privacy.architectures import Tied, image_networks, naive, parameters, text_networks
from tests.privacy.test_layers import agree


@given(st.one_of(image_networks(), text_networks()), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=60)
def test_rows_are_the_examples_gradients(network, n, k, seed):
    module, image = network
    assert unsupported_layers(module, image) == []
    agree(module, image, n, k, seed)


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


def test_nothing_is_left_behind_after_an_error():
    module = nn.Sequential(nn.Linear(4, 4), nn.GroupNorm(2, 4), nn.Linear(4, 3))

    def broken(outputs: Tensor, targets: Tensor) -> Tensor:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        per_example_gradients(ExampleLoss(module, broken), parameters(module), torch.rand(1, 1, 4), torch.ones(1, 1, 3))
    assert not any(layer._forward_hooks or "forward" in vars(layer) for layer in module.modules())
