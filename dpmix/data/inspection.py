"""Decodes image files to see whether they are whole, and what they look like; on all cores by threads."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dpmix.data import zips
from dpmix.data.decoding import fit, on_all_cores, open_image
from dpmix.data.tree import Files, Skipped
from dpmix.errors import DataError
from dpmix.progress import progress


class Inspected(NamedTuple):
    """One image file.

    Attributes:
        why: that it cannot be read, as the end of a sentence that begins with its name; None for a whole one.
        digest: the SHA-256 of the file; empty if it cannot be read at all.
        thumbnail: uint8 [3, S, S], the image at S pixels a side; None if it is damaged.
    """

    why: str | None
    digest: bytes
    thumbnail: npt.NDArray[np.uint8] | None


def inspect(files: Files, places: Sequence[str], side: int = 8, label: str = "checking") -> Iterator[Inspected]:
    """Read and decode files, and show progress.

    Args:
        files: where they are.
        places: their names.
        side: S of the thumbnails, in pixels.
        label: what the progress bar calls it.
    """

    def one(index: int) -> Inspected:
        return _inspect(files[places[index]], side)

    yield from progress(on_all_cores(one, range(len(places))), label, "image", len(places))


def damaged(files: Files, places: Sequence[str], label: str = "looking for damaged images") -> tuple[Skipped, ...]:
    """Which files cannot be read as images, and why; all are decoded for it."""
    seen = zip(places, inspect(files, places, 1, label), strict=True)
    return tuple(Skipped(place, one.why) for place, one in seen if one.why is not None)


def refuse_damaged(found: Sequence[Skipped]) -> None:
    """Refuse damaged images, all in one line.

    Raises:
        DataError: if there are any.
    """
    if not found:
        return
    first = ", ".join(f"{one.place} ({one.why})" for one in found[:5])
    more = f" and {len(found) - 5} more, which dpmix check lists" if len(found) > 5 else ""
    images = "image is" if len(found) == 1 else "images are"
    raise DataError(f"{len(found)} {images} damaged: {first}{more}; replace or remove, or leave out by --skip-damaged")


def _inspect(file: zips.File, side: int) -> Inspected:
    digest = b""
    try:
        content = file.read()
        digest = hashlib.sha256(content).digest()
        return Inspected(None, digest, fit(open_image(file.path, io.BytesIO(content)), side, 3))
    except DataError as error:
        # The message of a single image begins with its path and ends with a remedy.
        reason = str(error).removeprefix(f"{file.path} ").rpartition("; ")[0]
        return Inspected(reason, digest, None)
