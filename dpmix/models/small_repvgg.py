"""A small RepVGG (Ding et al., 2021) for 32 px, registered with timm so that OpenCLIP builds it like any other.

Importing this module registers `dpmix_repvgg_small32`. It is trained with three parallel branches in each block, each
with batch norm. Afterwards the branches of a block are added up into one 3 x 3 convolution, so that the encoder that is
saved consists of five convolutions: it is fast on a CPU, and has no batch norm.
"""

from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.utils.model import reparameterize_model

SMALL_REPVGG = "dpmix_repvgg_small32"


def branched(**kwargs: Any) -> ByobNet:
    """The network for training: images [n, 3, 32, 32] to 192 features; its stages have 16, 8, 4 and 2 pixels a side."""
    stages = ((48, 1), (96, 2), (192, 1))  # channels and blocks
    blocks = tuple(ByoBlockCfg(type="rep", d=depth, c=width, s=2, gs=0, br=1.0) for width, depth in stages)
    shape = ByoModelCfg(blocks=blocks, stem_chs=32, stem_type="rep", stem_pool="", act_layer="relu")
    kwargs["pretrained_cfg"] = {"input_size": (3, 32, 32)}
    model: ByobNet = build_model_with_cfg(ByobNet, SMALL_REPVGG, False, model_cfg=shape, **kwargs)
    return model


def fused(trained: ByobNet) -> ByobNet:
    """The trained network with the branches of each block added up into one convolution; in eval mode it is equal."""
    model: ByobNet = reparameterize_model(trained)
    return model


@register_model  # type: ignore[untyped-decorator]
def dpmix_repvgg_small32(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    """The network for use after training, with 0.3 million parameters; the function that timm calls."""
    return fused(branched(**kwargs))
