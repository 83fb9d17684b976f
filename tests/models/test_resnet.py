import pytest
import torch
from pydantic import ValidationError

from dpmix.costs.operations import network_cost
from dpmix.models.networks import build_network
from dpmix.params.models import ResNetSpec
from dpmix.privacy.layers import unsupported_layers
from dpmix.privacy.model_checks import check_examples_independent


def spec(**changes) -> ResNetSpec:
    tiny = {"depth": 8, "groups": 2, "base_channels": 4, "resolution": 8}
    return ResNetSpec(kind="resnet", name="net", label="Net", **{**tiny, **changes})


RESNET_20 = ResNetSpec(kind="resnet", name="resnet-20", label="ResNet-20", depth=20)


def test_resnet_20():
    # He et al.: 19 convolutions and a linear layer, 0.27 million parameters, 41 million multiply-adds for CIFAR-10.
    model = build_network(RESNET_20, 3, 10, seed=0)
    convolutions = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.kernel_size for layer in convolutions] == [(3, 3)] * 19
    assert [layer.out_channels for layer in convolutions] == [16] * 7 + [32] * 6 + [64] * 6
    assert [layer.stride[0] for layer in convolutions] == [1] * 7 + [2] + [1] * 5 + [2] + [1] * 5
    assert all(layer.bias is None for layer in convolutions)
    weights = 9 * (3 * 16 + 6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2)
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    assert sum(value.numel() for value in model.parameters()) == weights + norms + 650 == 269_722
    groups = [layer.num_groups for layer in model.modules() if isinstance(layer, torch.nn.GroupNorm)]
    assert groups == [16] * 7 + [32] * 12  # min(32, channels)
    assert 2 * 40.5e6 < network_cost(RESNET_20, 3, 10).forward < 2 * 41e6


def by_definition(weights: dict[str, torch.Tensor], x: torch.Tensor, blocks: int, groups: int, stem_stride: int):
    """He et al.'s network with group norm after each convolution, from the definitions of its operations."""

    def convolved(x, name, stride=1):
        return torch.nn.functional.conv2d(x, weights[f"{name}.weight"], None, stride, 1)

    def normalised(x, name):
        grouped = x.reshape(len(x), min(groups, x.shape[1]), -1)
        variance, mean = torch.var_mean(grouped, dim=2, correction=0, keepdim=True)
        x = ((grouped - mean) / (variance + 1e-5).sqrt()).reshape(x.shape)
        return x * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]

    x = normalised(convolved(2 * x - 1, "stem", stem_stride), "norm")
    x = (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())
    for index in range(3 * blocks):
        name, stride = f"blocks.{index}", 2 if index in (blocks, 2 * blocks) else 1
        residual = normalised(convolved(x, f"{name}.conv1", stride), f"{name}.norm1").clamp(min=0)
        residual = normalised(convolved(residual, f"{name}.conv2"), f"{name}.norm2")
        shortcut = torch.zeros_like(residual)
        shortcut[:, : x.shape[1]] = x[:, :, ::stride, ::stride]
        x = (residual + shortcut).clamp(min=0)
    return x.mean(dim=(2, 3)) @ weights["head.weight"].T + weights["head.bias"]


@pytest.mark.parametrize(("depth", "groups", "stem_stride"), [(8, 2, 1), (8, 8, 2), (14, 4, 1)])
def test_it_computes_what_its_definition_says(depth, groups, stem_stride):
    model = build_network(spec(depth=depth, groups=groups, stem_stride=stem_stride), 3, 5, seed=0).double()
    keyed = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.2 * torch.randn(value.shape, generator=keyed, dtype=torch.float64)
        images = torch.rand(2, 3, 12, 12, generator=keyed, dtype=torch.float64)
        expected = by_definition(dict(model.named_parameters()), images, (depth - 2) // 6, groups, stem_stride)
        torch.testing.assert_close(model(images), expected, rtol=1e-9, atol=1e-9)
    assert expected.std() > 0.01


def test_images_do_not_see_each_other_and_every_layer_has_a_rule():
    model = build_network(spec(), 1, 3, seed=0)
    check_examples_independent(model, torch.zeros(1, 8, 8))
    assert unsupported_layers(model, torch.zeros(1, 8, 8)) == []
    assert not list(model.buffers())


def test_every_parameter_learns():
    model = build_network(spec(), 1, 3, seed=0)
    torch.nn.functional.cross_entropy(model(torch.rand(4, 1, 8, 8)), torch.tensor([0, 1, 2, 0])).backward()
    learning = [value.grad is not None and bool(value.grad.any()) for value in model.parameters()]
    assert len(learning) == 3 + 6 * 3 + 2
    assert all(learning)


@pytest.mark.parametrize(
    ("changes", "words"), [({"depth": 10}, "6 b"), ({"depth": 2}, "6 b"), ({"groups": 3}, "do not divide 4 channels")]
)
def test_impossible_shapes(changes, words):
    with pytest.raises(ValidationError, match=words):
        spec(**changes)
