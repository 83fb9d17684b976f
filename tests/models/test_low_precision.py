"""A network is cast as a whole where that is as good as autocast, and only there."""

import pytest
import timm
import torch
from torch import Tensor, nn

from dpmix.models.encoder import Encoder
from dpmix.models.low_precision import cast_network, chunks, padded
from tests.needs import GPU, needs


class OwnNumbers(nn.Module):
    """Makes float32 numbers, as rotary embeddings do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.mean(dim=(2, 3)) * torch.linspace(1, 2, 3))


class Delicate(nn.Module):
    """Has a weight that bfloat16 rounds to one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(3, 4), nn.Parameter(torch.tensor(1.001))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.mean(dim=(2, 3))) * (self.scale - 1)


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5), nn.LayerNorm(5))


def made(network: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return network().eval()


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def embed(network: nn.Module, images: Tensor) -> Tensor:
    return network(images)


def test_weights_are_cast_and_batch_norm_is_not() -> None:
    network = made(plain)
    low = cast_network(network, torch.bfloat16, images(), embed)
    assert low is not None
    types = {name: value.dtype for name, value in [*low.named_parameters(), *low.named_buffers()]}
    assert types["1.weight"] == types["1.running_var"] == torch.float32
    assert all(types[f"{layer}.weight"] == torch.bfloat16 for layer in (0, 3, 4))
    assert {value.dtype for value in network.parameters()} == {torch.float32}  # the original is left as it was


@pytest.mark.parametrize("network", [OwnNumbers, Delicate])
def test_autocast_where_casting_fails_or_loses(network: type[nn.Module]) -> None:
    assert cast_network(made(network), torch.bfloat16, images(), embed) is None


@pytest.mark.parametrize("network", [plain, OwnNumbers, Delicate])
def test_an_encoder_embeds_as_float32_does_either_way(network: type[nn.Module]) -> None:
    arguments = {"resolution": 8, "mean": (0.5,) * 3, "std": (0.25,) * 3, "batch_size": 2}
    exact = Encoder(made(network), **arguments)(images())
    low = Encoder(made(network), **arguments, dtype=torch.bfloat16)(images())
    assert low.dtype == torch.float32
    assert not torch.equal(low, exact)
    assert float((low - exact).norm() / exact.norm()) < 0.03  # a few roundings of 2**-9


@pytest.mark.parametrize("size", [512, 100, 40])
@pytest.mark.parametrize("count", [0, 1, 39, 64, 65, 511, 512, 513, 1160])
def test_batches_of_two_sizes_hold_every_image_once(count: int, size: int) -> None:
    parts = list(chunks(count, size, 64))
    assert [place for part, _ in parts for place in range(count)[part]] == list(range(count))
    assert {together for _, together in parts} <= {size, min(size, 64)}
    # Padding is in the last batch alone, and less than one of the smaller ones.
    lengths = [(len(range(count)[part]), together) for part, together in parts]
    assert all(length == together for length, together in lengths[:-1])
    assert all(length > together - min(size, 64) for length, together in lengths[-1:])


def test_without_a_remainder_nothing_is_padded() -> None:
    assert [together for _, together in chunks(1160, 512, None)] == [512, 512, 136]


def test_padding_is_zeros_behind_the_images() -> None:
    given = images(3)
    whole = padded(given, 5)
    assert whole.shape == (5, 3, 8, 8)
    assert torch.equal(whole[:3], given)
    assert not whole[3:].any()
    assert padded(given, 3) is given


@needs(GPU, torch.cuda.is_available())
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_company_changes_no_feature_on_a_gpu(dtype: torch.dtype) -> None:
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    encoder = Encoder(network, resolution=224, mean=(0.5,) * 3, std=(0.25,) * 3, device="cuda", dtype=dtype)
    given = torch.rand(200, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    whole = encoder(given)
    for size in (1, 7, 100):
        assert torch.equal(torch.cat([encoder(part) for part in given.split(size)]), whole)
