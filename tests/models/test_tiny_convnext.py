"""The demo's ConvNeXt: registered with timm, of the size that it says, and without a batch norm."""

import timm
import torch
from torch import nn

from dpmix.models.tiny_convnext import TINY_CONVNEXT


def test_timm_builds_it_for_16_px() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(TINY_CONVNEXT, pretrained=False, num_classes=0).eval()
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    features = model(images)
    assert features.shape == (2, 64)
    assert torch.isfinite(features).all()
    # The last stage has one pixel left, so that its kernel has one, too.
    assert model.forward_features(images).shape == (2, 64, 1, 1)
    blocks = model.stages[-1].blocks.modules()
    assert {module.kernel_size for module in blocks if isinstance(module, nn.Conv2d)} == {(1, 1)}
    assert 150_000 < sum(parameter.numel() for parameter in model.parameters()) < 250_000
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
