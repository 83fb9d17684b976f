"""`python -m benchmarks.company`: how far an encoder's features of an image depend on how many share its forward pass.

Prints, for each precision, the largest difference of a feature vector, as a share of its length, between all images at
once and chunks of each size, and between two orders of the same images.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks.stream import GPU, random_encoder

PRECISIONS = (torch.bfloat16, torch.float16, torch.float32)
SIZES = (1, 7, 64, 100)


def differences(
    precision: torch.dtype, device: str, architecture: str, count: int, sizes: Sequence[int]
) -> dict[str, float]:
    """The largest difference for chunks of each size, and for another order, by name.

    Args:
        precision: of the forward pass.
        device: where to compute.
        architecture: of an encoder with random weights.
        count: images, at most as many as the encoder takes at once.
        sizes: images in a chunk.
    """
    _, encoder = random_encoder(replace(GPU, precision=precision, device=device, architecture=architecture))
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, encoder.resolution, encoder.resolution, generator=draws).to(device)
    whole = encoder(images)

    def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
        return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())

    found = {
        f"chunks of {size}": apart(torch.cat([encoder(part) for part in images.split(size)]), whole) for size in sizes
    }
    order = torch.randperm(count, generator=draws).to(device)
    return {**found, "another order": apart(encoder(images[order]), whole[order])}


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("error: no GPU found; on a processor features do not depend on it beyond rounding in float32")
    for precision in PRECISIONS:
        told = differences(precision, "cuda", GPU.architecture, 512, SIZES)
        print(precision, "  ".join(f"{name}: {value:.1e}" for name, value in told.items()), flush=True)


if __name__ == "__main__":
    main()
