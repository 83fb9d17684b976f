"""Networks that are trained from scratch, built by the specs of `params.yaml`."""

import pkgutil

import torch
from torch import nn

from dpmix.params.models import NetworkSpec


def build_network(spec: NetworkSpec, channels: int, classes: int, seed: int) -> nn.Module:
    """A network with its initial weights.

    Args:
        spec: which network; its `module` is called with the spec, `channels` and `classes`.
        channels: C of the images that it is given, float32 [m, C, R, R] in [0, 1].
        classes: of the logits [m, classes] that it gives.
        seed: of the initial weights, which depend on nothing else; torch's own generator is left as it was.

    >>> from dpmix.params.models import WideResNetSpec
    >>> spec = WideResNetSpec(kind="wide-resnet", name="net", label="Net", depth=10, width=1, groups=4)
    >>> build_network(spec, channels=1, classes=3, seed=0)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 3])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = pkgutil.resolve_name(spec.module)(spec, channels, classes)
        return module
