"""Decodes image files to see whether they are whole, and what they look like; on all cores by threads."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dpmix.data import zips
from dpmix.data.decoding import Part, fit, open_image
from dpmix.data.tree import Files, Skipped
from dpmix.errors import DataError
from dpmix.execution import on_all_cores
from dpmix.progress import progress

# How many damaged images a line names.
NAMED = 50


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


def inspect(
    files: Files, places: Sequence[str], side: int = 8, label: str = "checking", *, counted: bool = True
) -> Iterator[Inspected]:
    """Read and decode files, and show progress.

    Args:
        files: where they are.
        places: their names.
        side: S of the thumbnails, in pixels.
        label: what the progress bar calls it.
        counted: whether the screen may say how many files there are.
    """

    def one(index: int) -> Inspected:
        return _inspect(files[places[index]], side)

    yield from progress(on_all_cores(one, range(len(places))), label, "image", len(places), counted=counted)


def damaged(files: Files, places: Sequence[str], *, counted: bool = True) -> tuple[Skipped, ...]:
    """Which files cannot be read as images, and why; all are decoded for it, with progress as of `inspect`."""
    seen = zip(places, inspect(files, places, 1, "looking for damaged images", counted=counted), strict=True)
    return tuple(Skipped(place, one.why) for place, one in seen if one.why is not None)


def refuse_damaged(found: Sequence[Skipped], leave_out: str = "leave out by `skip_damaged=True`") -> None:
    """Refuse damaged images, all in one line.

    Args:
        found: the damaged images, as of `damaged` or `damaged_in`.
        leave_out: how to do without them, as the end of a sentence; empty if that cannot be.

    Raises:
        DataError: if there are any.
    """
    if not found:
        return
    first = ", ".join(f"{one.place} {one.why}" for one in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    images, them = ("image is", "it") if len(found) == 1 else ("images are", "them")
    otherwise = f", or {leave_out}" if leave_out else ""
    raise DataError(f"{len(found)} {images} damaged: {first}{more}; replace or remove {them}{otherwise}")


def damaged_in(part: Part, *, counted: bool = True) -> tuple[Skipped, ...]:
    """Which images of a part cannot be read, and why; all are decoded for it, with progress as of `inspect`."""

    def one(index: int) -> Skipped | None:
        try:
            part.open(index)
        except DataError as error:
            return _damage(error)
        return None

    count = len(part.labels)
    looked = on_all_cores(one, range(count))
    seen = progress(looked, "looking for damaged images", "image", count, counted=counted)
    return tuple(one for one in seen if one is not None)


def _damage(error: DataError) -> Skipped:
    """A message about one image, which begins with its path and ends with a remedy, by its parts."""
    path, cannot, reason = str(error).partition(" cannot be read")
    return Skipped(path, (cannot + reason).rpartition("; ")[0].strip())


def _inspect(file: zips.File, side: int) -> Inspected:
    digest = b""
    try:
        content = file.read()
        digest = hashlib.sha256(content).digest()
        return Inspected(None, digest, fit(open_image(file.path, io.BytesIO(content)), side, 3))
    except DataError as error:
        return Inspected(_damage(error).why, digest, None)
