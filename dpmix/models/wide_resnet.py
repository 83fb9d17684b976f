"""Wide residual networks with group norm: the WRN-16-4 of De et al. and of the paper's Tables 1, 2 and 5."""

import torch
from torch import Tensor, nn

from dpmix.params.models import WideResNetSpec


class _Block(nn.Module):
    """A residual block: two 3x3 convolutions, and a shortcut that is a 1x1 convolution if the shape changes.

    Group norm comes after the activation on the residual path, and before it on the shortcut. Of the orders in use,
    this one gives the accuracy that the paper reports (docs/choices.md).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.changes_shape = stride != 1 or inputs != outputs
        if self.changes_shape:
            self.shortcut_norm = nn.GroupNorm(groups, inputs)
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv1(self.norm1(torch.relu(x)))
        residual = self.conv2(self.norm2(torch.relu(residual)))
        if self.changes_shape:
            x = self.shortcut(torch.relu(self.shortcut_norm(x)))
        return x + residual


class WideResNet(nn.Module):
    """A WRN-`depth`-`width` for images [m, channels, R, R] in [0, 1], giving logits [m, classes].

    Args:
        spec: depth = 6 b + 4 for b blocks a stage; `width` multiplies the channels of the three stages.
        channels: of the input images.
        classes: of the logits.

    Raises:
        ValueError: if the depth is not 6 b + 4 or the group count does not divide the channels.
    """

    def __init__(self, spec: WideResNetSpec, channels: int, classes: int) -> None:
        super().__init__()
        blocks, remainder = divmod(spec.depth - 4, 6)
        if remainder or blocks < 1:
            raise ValueError(f"the depth of a wide residual network is 6 b + 4, not {spec.depth}")
        base = spec.base_channels
        widths = [base, base * spec.width, 2 * base * spec.width, 4 * base * spec.width]
        self.stem = nn.Conv2d(channels, base, 3, stride=spec.stem_stride, padding=1)
        stages: list[nn.Module] = []
        for stage in range(3):
            for block in range(blocks):
                inputs = widths[stage] if block == 0 else widths[stage + 1]
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(_Block(inputs, widths[stage + 1], stride, spec.groups))
        self.blocks = nn.Sequential(*stages)
        self.norm = nn.GroupNorm(spec.groups, widths[3])
        self.head = nn.Linear(widths[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [m, channels, R, R] in [0, 1] to logits [m, classes]."""
        x = self.blocks(self.stem(x * 2 - 1))
        x = torch.relu(self.norm(x))
        return self.head(x.mean(dim=(2, 3)))
