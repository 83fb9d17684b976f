"""Decodes image files in parallel: opens them as a person sees them, and resizes them to one resolution.

An image is resized by bicubic interpolation with antialiasing until its shorter side is R, then cropped at the centre,
as the encoders' own preprocessing does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dpmix.data import pixels
from dpmix.errors import DataError, one_line
from dpmix.execution import on_all_cores

if TYPE_CHECKING:
    from PIL import Image

# How many times as long as wide an image may be before its ends are cut off.
_LONGEST = 64


class Part(NamedTuple):
    """The images of one split before decoding.

    Attributes:
        labels: int64 [N].
        open: from an index in [0, N) to the opened image.
        file: from an index to the path of the image's file; None if the images are not files.
        persons: int64 [N], whose image each is, persons being numbered from 0; None where that is not known.
    """

    labels: npt.NDArray[np.int64]
    open: Callable[[int], "Image.Image"]
    file: Callable[[int], Path] | None = None
    persons: npt.NDArray[np.int64] | None = None

    def only(self, indices: npt.NDArray[np.int64]) -> "Part":
        """The images at these indices, int64 [m]."""

        def file(index: int) -> Path:
            assert self.file is not None
            return self.file(int(indices[index]))

        of_file = file if self.file is not None else None
        persons = self.persons[indices] if self.persons is not None else None
        return Part(self.labels[indices], lambda index: self.open(int(indices[index])), of_file, persons)


def part_of_paths(paths: Sequence[Path], labels: npt.ArrayLike) -> Part:
    """Image files as a part, their labels int64 [N]."""
    return Part(np.asarray(labels, dtype=np.int64), lambda index: open_image(paths[index]), lambda index: paths[index])


def part_of_pixels(levels: npt.NDArray[np.uint8], labels: npt.ArrayLike) -> Part:
    """Pixels in memory as a part, uint8 [N, H, W] or [N, H, W, 3], their labels int64 [N]."""
    from PIL import Image

    return Part(np.asarray(labels, dtype=np.int64), lambda index: Image.fromarray(levels[index]))


class Pool(NamedTuple):
    """A data set before decoding.

    Attributes:
        classes: their names, in the order of the labels.
        parts: by split, `train` and `test`, or `train` alone for D.
        origin: where the images come from, for messages.
        remedy: what to do if their number is not the published one, for messages.
        source: what the store's meta.json says of the origin.
        leave_out: how to do without damaged images, as the end of a sentence; empty if that cannot be.
    """

    classes: tuple[str, ...]
    parts: Mapping[str, Part]
    origin: str
    remedy: str
    source: Mapping[str, Any]
    leave_out: str = ""


# Reading and writing images
def open_image(path: Path, file: IO[bytes] | None = None) -> "Image.Image":
    """Read one image file as a person sees it (`dpmix.data.pixels.read`).

    Args:
        path: the file, or its name for messages.
        file: where to read from instead, for a file inside an archive.

    Raises:
        DataError: if it cannot be read as an image.
    """
    from PIL import UnidentifiedImageError

    try:
        return pixels.read(file or path)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        # Pillow names the file, which here may be bytes without a name.
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "it is in no format that Pillow reads" if unknown else one_line(error)
        raise DataError(f"{path} cannot be read as an image ({reason}); replace or remove it") from error


def fit(image: "Image.Image", resolution: int, channels: int) -> npt.NDArray[np.uint8]:
    """Resize the shorter side to R (bicubic, antialiased), crop the centre: uint8 [C, R, R]."""
    from PIL import Image

    width, height = image.size
    if max(width, height) > _LONGEST * min(width, height):
        # A line of pixels, resized whole before it is cropped, would fill the memory.
        half = _LONGEST * min(width, height) // 2
        left, top = max(width // 2 - half, 0), max(height // 2 - half, 0)
        image = image.crop((left, top, min(left + 2 * half, width), min(top + 2 * half, height)))
        width, height = image.size
    image = image.convert("L" if channels == 1 else "RGB")
    if (width, height) != (resolution, resolution):
        # Sizes and offsets are rounded as torchvision's Resize and CenterCrop do, which OpenCLIP's preprocessing uses.
        shorter = min(width, height)
        size = (int(resolution * width / shorter), int(resolution * height / shorter))
        image = image.resize(size, Image.Resampling.BICUBIC)
        left, top = round((size[0] - resolution) / 2), round((size[1] - resolution) / 2)
        image = image.crop((left, top, left + resolution, top + resolution))
    levels = np.asarray(image).reshape(resolution, resolution, channels)
    return np.ascontiguousarray(levels.transpose(2, 0, 1))


def decode(part: Part, resolution: int, channels: int, first: int = 0) -> Iterator[npt.NDArray[np.uint8]]:
    """The images of a part in order, decoded on all cores by threads (Pillow releases the interpreter's lock).

    Args:
        part: the images.
        resolution: R, in pixels.
        channels: C, 1 or 3.
        first: the index of the first image to decode.

    Returns:
        For each image uint8 [C, R, R].

    Raises:
        DataError: for an image that cannot be read.
    """

    def one(index: int) -> npt.NDArray[np.uint8]:
        return fit(part.open(index), resolution, channels)

    return on_all_cores(one, range(first, len(part.labels)))
