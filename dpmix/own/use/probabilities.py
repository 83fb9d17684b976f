"""Probabilities of classes by a released model, image by image; a file that cannot be read does not end the rest."""

import itertools
from collections.abc import Iterable, Iterator

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
    from PIL import Image

    damaged: dict[int, DataError] = {}

    def opened(index: int) -> Image.Image:
        try:
            return part.open(index)
        except DataError as error:
            damaged[index] = error
            return Image.new("RGB", (1, 1))  # holds the place, so that the order stays

    images = decode(part._replace(open=opened), model.resolution, model.channels)
    for number, row in enumerate(of_pixels(model, images, batch_size=batch_size, device=device)):
        yield damaged.pop(number) if number in damaged else row


def of_pixels(
    model: Released, images: Iterable[npt.NDArray[np.uint8]], *, batch_size: int = 64, device: str = "cpu"
) -> Iterator[npt.NDArray[np.float32]]:
    """Classify images that are decoded; arguments as of `probabilities`.

    Args:
        model: the model.
        images: each uint8 [C, R, R].
        batch_size: images at a time.
        device: where the model is.

    Returns:
        For each image, in order, its probabilities float32 [classes].
    """
    import torch

    waiting = iter(images)
    while batch := list(itertools.islice(waiting, batch_size)):
        with torch.inference_mode():
            logits = model.logits(torch.from_numpy(np.stack(batch)).to(device).float() / 255)
            rows = torch.softmax(logits.double(), dim=1).float().cpu().numpy()
        yield from rows
