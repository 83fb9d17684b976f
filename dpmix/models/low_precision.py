"""Frozen networks in bfloat16 or float16 throughout, where that is as good as autocast."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

Embed = Callable[[nn.Module, Tensor], Tensor]

# How much further from float32's embeddings than autocast's a cast network's may be, and what does not count.
_WORSE, _ROUNDING = 2.0, 1e-3


def cast_network(visual: nn.Module, dtype: torch.dtype, images: Tensor, embed: Embed) -> nn.Module | None:
    """A copy of the network with its weights in `dtype`; None if autocast has to do instead.

    Autocast keeps weights in float32 and computes norms on float32 copies of their inputs: on an H200 a ViT-B-16 then
    takes half as long again. Batch norm keeps float32 weights and statistics, which torch allows.

    Autocast has to do if the network makes float32 numbers of its own, which layers in `dtype` refuse, or if its
    embeddings lose much more than autocast's.

    Args:
        visual: in eval mode, float32.
        dtype: bfloat16 or float16.
        images: float32 [m, 3, R, R], to try it on.
        embed: from a network and images to embeddings.
    """
    low = copy.deepcopy(visual).to(dtype)
    if images.is_cuda:
        low = low.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in low.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.float()
    with torch.inference_mode():
        exact = embed(visual, images).float()
        with torch.autocast(images.device.type, dtype):
            usual = embed(visual, images).float()
        try:
            found = embed(low, cast_images(images, dtype)).float()
        except RuntimeError:
            return None
    limit = _WORSE * (usual - exact).norm() + _ROUNDING * exact.norm()
    return low if bool((found - exact).norm() <= limit) else None


def cast_images(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images [m, C, R, R] in `dtype`; on a GPU with channels last, in which it convolves faster."""
    return images.to(dtype, memory_format=torch.channels_last if images.is_cuda else torch.preserve_format)
