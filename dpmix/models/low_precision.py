"""Frozen networks in bfloat16 or float16: cast where that is as accurate as autocast, and faster; batches of two sizes.

A library picks its kernels by the number of images in a forward pass, and in bfloat16 an image's features by a ViT-B-16
then differ by up to 0.9 % of their length. Among batches of 64 and 512 they were the same to the last bit
(`benchmarks/README.md`), so an encoder on a GPU passes no others.
"""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

Embed = Callable[[nn.Module, Tensor], Tensor]

REMAINDER = 64
"""Images in a forward pass of those that are left when all others went through in batches of full size."""

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


def chunks(count: int, size: int, remainder: int | None) -> Iterator[tuple[slice, int]]:
    """Cut images into batches of `size`, and what is left into ones of `remainder`, of which the last is to be padded.

    Args:
        count: images.
        size: of most batches.
        remainder: of the others; None leaves the last batch as small as it comes.

    Yields:
        The images of a batch, and how many it is to have with padding.

    >>> [(part.start, part.stop, together) for part, together in chunks(600, 512, 64)]
    [(0, 512, 512), (512, 576, 64), (576, 600, 64)]
    """
    start = 0
    while start < count:
        together = size if remainder is None or count - start >= size else min(size, remainder)
        stop = min(start + together, count)
        yield slice(start, stop), stop - start if remainder is None else together
        start = stop


def padded(images: Tensor, size: int) -> Tensor:
    """Images [m, ...] with zeros after them, [size, ...]; the images themselves if there are as many."""
    if len(images) == size:
        return images
    whole = torch.zeros_like(images[:1]).repeat(size, *[1] * (images.dim() - 1))
    whole[: len(images)] = images
    return whole
