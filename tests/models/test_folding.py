"""Folded batch norms give the same features, and what cannot be folded stays."""

import pytest
import torch
from torch import Tensor, nn

from dpmix.models.folding import folded


def with_statistics(network: nn.Module) -> nn.Module:
    """The network in eval mode, its batch norms with statistics and weights that are not those of a new one."""
    draws = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                assert tensor is not None
                tensor.data.copy_(torch.rand(tensor.shape, generator=draws) + 0.5)
    return network.eval().requires_grad_(False)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def same(network: nn.Module, side: int = 16) -> nn.Module:
    """The folded network, checked to give the same features."""
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    before = norms(network)
    found = folded(network)
    torch.testing.assert_close(found(images), network(images), rtol=1e-4, atol=1e-4)
    assert norms(network) == before, "the network itself stays as it is"
    return found


def test_every_batch_norm_of_the_encoder_that_is_installed_is_folded() -> None:
    import timm

    network = with_statistics(timm.create_model("tf_efficientnet_lite0", num_classes=0))
    assert norms(network) > 40
    assert norms(same(network, side=33)) == 0


def test_a_plain_batch_norm_is_folded() -> None:
    found = same(with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten())))
    assert norms(found) == 0


class Residual(nn.Module):
    """What the convolution gives is also read beside the batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        before = self.conv(images)
        return (before + self.norm(before)).flatten(1)


class Twice(nn.Module):
    """A convolution that is used twice, once without the batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(self.norm(self.conv(images))).flatten(1)


class Branching(nn.Module):
    """Its path depends on the images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.conv(images)) if images.sum() < 1e9 else images
        return features.flatten(1)


@pytest.mark.parametrize("kind", [Residual, Twice, Branching])
def test_what_is_read_elsewhere_too_stays(kind: type[nn.Module]) -> None:
    assert norms(same(with_statistics(kind()))) == 1


class Own(nn.BatchNorm2d):
    """A batch norm that does more."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * 2


def test_an_unknown_kind_of_batch_norm_stays() -> None:
    assert norms(same(with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), Own(4), nn.Flatten())))) == 1


def test_a_network_without_batch_norms_is_itself() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).eval()
    assert folded(network) is network
