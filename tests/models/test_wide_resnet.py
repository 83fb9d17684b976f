import pytest
import torch

from dpmix.models.wide_resnet import wide_resnet
from dpmix.params import WideResNetSpec
from dpmix.privacy.layers import unsupported_layers


def spec(**changes) -> WideResNetSpec:
    tiny = {"depth": 10, "width": 2, "groups": 4, "base_channels": 4, "resolution": 8}
    return WideResNetSpec(kind="wide-resnet", name="wrn", label="WRN", **{**tiny, **changes})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "stride"), [(8, 1), (16, 2), (9, 1)])
def test_shapes(channels, size, stride):
    model = wide_resnet(spec(stem_stride=stride), channels, 5, seed=0)
    assert model(torch.rand(3, channels, size, size)).shape == (3, 5)


def test_the_papers_network():
    # De et al. give 2.7 million parameters for their WRN-16-4.
    model = wide_resnet(spec(depth=16, width=4, groups=16, base_channels=16), 3, 10, seed=0)
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


def test_the_seed_alone_decides():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = wide_resnet(spec(), 1, 3, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = wide_resnet(spec(), 1, 3, seed=4), wide_resnet(spec(), 1, 3, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.stem.weight, other.stem.weight)


@pytest.mark.parametrize("training", [True, False])
def test_images_do_not_see_each_other(training):
    model = wide_resnet(spec(), 1, 3, seed=0).train(training)
    images = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        whole = model(images)
        images[1] = torch.nan
        after = model(images)
    assert torch.equal(after[[0, 2, 3]], whole[[0, 2, 3]])
    assert not list(model.buffers())


def test_its_layers_have_per_example_rules():
    assert unsupported_layers(wide_resnet(spec(), 1, 3, seed=0), torch.zeros(1, 8, 8)) == []


def test_every_parameter_learns():
    model = wide_resnet(spec(), 1, 3, seed=0)
    torch.nn.functional.cross_entropy(model(torch.rand(4, 1, 8, 8)), torch.tensor([0, 1, 2, 0])).backward()
    learning = [value.grad is not None and bool(value.grad.any()) for value in model.parameters()]
    assert len(learning) > 10
    assert all(learning)


@pytest.mark.parametrize("changes", [{"depth": 11}, {"depth": 4}, {"groups": 3}])
def test_impossible_shapes(changes):
    with pytest.raises(ValueError, match=r"depth|num_channels|groups"):
        wide_resnet(spec(**changes), 1, 3, seed=0)
