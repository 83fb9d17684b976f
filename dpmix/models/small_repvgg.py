"""A small RepVGG (Ding et al., 2021) for 32 px, registered with timm so that OpenCLIP builds it like any other.

Importing this module registers `dpmix_repvgg_small32`. It is trained with three branches to a block, each with batch
norm, and used as what these add up to: five convolutions of 3 x 3 and nothing else. So the encoder that is saved is
fast on a processor, and has no batch norm left that could mix examples.
"""

from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.utils.model import reparameterize_model

SMALL_REPVGG = "dpmix_repvgg_small32"


def branched(**kwargs: Any) -> ByobNet:
    """As it is trained: images [n, 3, 32, 32] to 192 features, at 16, 8, 4 and 2 pixels a side."""
    stages = ((48, 1), (96, 2), (192, 1))  # channels and blocks
    blocks = tuple(ByoBlockCfg(type="rep", d=depth, c=width, s=2, gs=0, br=1.0) for width, depth in stages)
    shape = ByoModelCfg(blocks=blocks, stem_chs=32, stem_type="rep", stem_pool="", act_layer="relu")
    kwargs["pretrained_cfg"] = {"input_size": (3, 32, 32)}
    model: ByobNet = build_model_with_cfg(ByobNet, SMALL_REPVGG, False, model_cfg=shape, **kwargs)
    return model


def fused(trained: ByobNet) -> ByobNet:
    """The same function, up to rounding and in eval mode, as plain convolutions."""
    model: ByobNet = reparameterize_model(trained)
    return model


@register_model  # type: ignore[untyped-decorator]
def dpmix_repvgg_small32(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    """As it is used: 0.3 million parameters."""
    return fused(branched(**kwargs))
