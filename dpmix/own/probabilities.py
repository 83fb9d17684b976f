"""Probabilities of classes by a released model, image by image; a file that cannot be read does not end the rest."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dpmix.data.decoding import Part, decode
from dpmix.errors import DataError
from dpmix.release.model import Released


def probabilities(
    model: Released, part: Part, *, batch_size: int = 64, device: str = "cpu"
) -> Iterator[npt.NDArray[np.float32] | DataError]:
    """Classify images.

    Args:
        model: as `dpmix.release.model.load` returns it.
        part: the images before decoding.
        batch_size: images at a time.
        device: where the model is.

    Returns:
        For each image, in order, its probabilities float32 [classes], or why it cannot be read.
    """
    import torch
    from PIL import Image

    damaged: dict[int, DataError] = {}

    def opened(index: int) -> Image.Image:
        try:
            return part.open(index)
        except DataError as error:
            damaged[index] = error
            return Image.new("RGB", (1, 1))  # holds the place, so that the order stays

    images = decode(part._replace(open=opened), model.resolution, model.channels)
    for start in range(0, len(part.labels), batch_size):
        numbers = range(start, min(start + batch_size, len(part.labels)))
        pixels = torch.from_numpy(np.stack([next(images) for _ in numbers]))
        with torch.inference_mode():
            logits = model.logits(pixels.to(device).float() / 255)
            found = torch.softmax(logits.double(), dim=1).float().cpu().numpy()
        for number, row in zip(numbers, found, strict=True):
            yield damaged.pop(number) if number in damaged else row
