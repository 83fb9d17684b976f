"""Casts frozen networks to bfloat16 or float16, where that is as accurate as autocast, and faster."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

Embed = Callable[[nn.Module, Tensor], Tensor]

# The cast network may be off float32 by up to _WORSE times autocast's error plus _ROUNDING times the embeddings' norm.
_WORSE, _ROUNDING = 2.0, 1e-3


def cast_network(visual: nn.Module, dtype: torch.dtype, images: Tensor, embed: Embed) -> nn.Module | None:
    """A copy of the network with its weights in `dtype`, or None if autocast should be used instead.

    Autocast keeps weights in float32 and computes normalisation layers on float32 copies of their inputs; with it a
    ViT-B-16 takes 1.5 times as long on an H200. Batch norm keeps float32 weights and statistics, which torch allows.

    Args:
        visual: in eval mode, float32.
        dtype: bfloat16 or float16.
        images: float32 [m, 3, R, R], to try it on.
        embed: maps a network and images to embeddings.

    Returns:
        None if the network makes float32 tensors itself, which layers in `dtype` refuse, or if the copy's embeddings
        are much less accurate than autocast's.
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
