"""Residual networks for small images with group norm: the ResNet-20 of He et al., as ModelMix trains it."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from dpmix.params.models import ResNetSpec


class _Block(nn.Module):
    """Two 3x3 convolutions, each followed by a group norm, and a shortcut without weights (He et al., option A).

    Where the shape changes, the shortcut takes every second pixel and fills the new channels with zeros.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(min(groups, outputs), outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(min(groups, outputs), outputs)
        self.stride, self.new_channels = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        shortcut = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return torch.relu(residual + shortcut)


class ResNet(nn.Module):
    """A ResNet-`depth` for images [m, channels, R, R] in [0, 1], giving logits [m, classes].

    ResNet-20 on three channels and ten classes has 269,722 parameters, 1,376 of them in group norms. The first
    activation is a hyperbolic tangent, as in the code of ModelMix's authors (docs/choices.md).

    Args:
        spec: depth = 6 b + 2 for b blocks in each of three stages, whose channels are 1, 2 and 4 times
            `base_channels`; each group norm has at most `groups` groups, and no more than channels.
        channels: of the input images.
        classes: of the logits.
    """

    def __init__(self, spec: ResNetSpec, channels: int, classes: int) -> None:
        super().__init__()
        blocks = (spec.depth - 2) // 6
        widths = [spec.base_channels * 2**stage for stage in range(3)]
        self.stem = nn.Conv2d(channels, widths[0], 3, stride=spec.stem_stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(min(spec.groups, widths[0]), widths[0])
        stages: list[nn.Module] = []
        inputs = widths[0]
        for stage, outputs in enumerate(widths):
            for block in range(blocks):
                stages.append(_Block(inputs, outputs, 2 if stage > 0 and block == 0 else 1, spec.groups))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [m, channels, R, R] in [0, 1] to logits [m, classes]."""
        x = torch.tanh(self.norm(self.stem(x * 2 - 1)))
        return self.head(self.blocks(x).mean(dim=(2, 3)))
