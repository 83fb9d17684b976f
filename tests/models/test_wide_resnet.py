import pytest
import torch

from dpmix.models.networks import build_network
from dpmix.params.models import WideResNetSpec
from dpmix.privacy.layers import unsupported_layers


def spec(**changes) -> WideResNetSpec:
    tiny = {"depth": 10, "width": 2, "groups": 4, "base_channels": 4, "resolution": 8}
    return WideResNetSpec(kind="wide-resnet", name="wrn", label="WRN", **{**tiny, **changes})


def test_the_papers_network():
    # De et al. give 2.7 million parameters for their WRN-16-4.
    model = build_network(spec(depth=16, width=4, groups=16, base_channels=16), 3, 10, seed=0)
    convolutions = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len([layer for layer in convolutions if layer.kernel_size == (3, 3)]) == 13
    assert len([layer for layer in convolutions if layer.kernel_size == (1, 1)]) == 3
    assert [block.conv1.out_channels for block in model.blocks] == [64, 64, 128, 128, 256, 256]
    weights = 27 * 16 + 9 * (16 * 64 + 3 * 64**2 + 64 * 128 + 3 * 128**2 + 128 * 256 + 3 * 256**2)
    shortcuts = 16 * 64 + 64 * 128 + 128 * 256
    biases = 16 + 4 * (64 + 128 + 256) + 64 + 128 + 256
    norms = 2 * ((16 + 64) + 2 * 64 + (64 + 128) + 2 * 128 + (128 + 256) + 2 * 256 + (16 + 64 + 128) + 256)
    head = 2560 + 10
    assert (
        sum(value.numel() for value in model.parameters()) == weights + shortcuts + biases + norms + head == 2_751_562
    )


def by_definition(weights: dict[str, torch.Tensor], x: torch.Tensor, blocks: int, groups: int, stem_stride: int):
    """The network of De et al. in its order of norms and activations, from the definitions of its operations."""

    def convolved(x, name, stride=1, padding=1):
        return torch.nn.functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding)

    def normalised(x, name):
        grouped = x.reshape(len(x), groups, -1)
        variance, mean = torch.var_mean(grouped, dim=2, correction=0, keepdim=True)
        x = ((grouped - mean) / (variance + 1e-5).sqrt()).reshape(x.shape)
        return x * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]

    x = convolved(2 * x - 1, "stem", stem_stride)
    for index in range(3 * blocks):
        name, stride = f"blocks.{index}", 2 if index in (blocks, 2 * blocks) else 1
        residual = convolved(normalised(x.clamp(min=0), f"{name}.norm1"), f"{name}.conv1", stride)
        residual = convolved(normalised(residual.clamp(min=0), f"{name}.norm2"), f"{name}.conv2")
        if f"{name}.shortcut.weight" in weights:
            x = convolved(normalised(x, f"{name}.shortcut_norm").clamp(min=0), f"{name}.shortcut", stride, padding=0)
        x = x + residual
    return normalised(x, "norm").clamp(min=0).mean(dim=(2, 3)) @ weights["head.weight"].T + weights["head.bias"]


@pytest.mark.parametrize(("depth", "width", "stem_stride"), [(10, 1, 1), (10, 2, 2), (16, 2, 1)])
def test_it_computes_what_its_definition_says(depth, width, stem_stride):
    model = build_network(spec(depth=depth, width=width, stem_stride=stem_stride), 3, 5, seed=0).double()
    keyed = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.2 * torch.randn(value.shape, generator=keyed, dtype=torch.float64)
        images = torch.rand(2, 3, 12, 12, generator=keyed, dtype=torch.float64)
        expected = by_definition(dict(model.named_parameters()), images, (depth - 4) // 6, 4, stem_stride)
        torch.testing.assert_close(model(images), expected, rtol=1e-9, atol=1e-9)
    assert expected.std() > 0.01


@pytest.mark.parametrize("training", [True, False])
def test_images_do_not_see_each_other(training):
    model = build_network(spec(), 1, 3, seed=0).train(training)
    images = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        whole = model(images)
        images[1] = torch.nan
        after = model(images)
    assert torch.equal(after[[0, 2, 3]], whole[[0, 2, 3]])
    assert not list(model.buffers())


def test_its_layers_have_per_example_rules():
    assert unsupported_layers(build_network(spec(), 1, 3, seed=0), torch.zeros(1, 8, 8)) == []


def test_every_parameter_learns():
    model = build_network(spec(), 1, 3, seed=0)
    torch.nn.functional.cross_entropy(model(torch.rand(4, 1, 8, 8)), torch.tensor([0, 1, 2, 0])).backward()
    learning = [value.grad is not None and bool(value.grad.any()) for value in model.parameters()]
    assert len(learning) > 10
    assert all(learning)


@pytest.mark.parametrize("changes", [{"depth": 11}, {"depth": 4}, {"groups": 3}])
def test_impossible_shapes(changes):
    with pytest.raises(ValueError, match=r"depth|num_channels|groups"):
        build_network(spec(**changes), 1, 3, seed=0)
