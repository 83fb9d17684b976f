"""Finds images that are there more than once: one file by several names, equal files, or pictures that look alike.

Two images look alike if their thumbnails correlate over all pixels and colours: by at least 0.985 at 8 x 8 pixels, and
0.97 at 16 x 16, where 1 is the same picture in other brightness or contrast. So a picture is found again after another
compression or scaling, but not after a crop, a rotation or a reflection. Among 6,000 images of CIFAR-10 this finds
three pairs, each of one photograph; of scikit-learn's digits, which have few pixels, 3 % look like another.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from dpmix.data.listing import ListedImage, Listing
from dpmix.progress import progress

# Side of the thumbnails that are compared.
SIDE = 16

_COARSE, _FINE = 0.985, 0.97

# Thumbnails of less contrast than this many of 255 levels (their standard deviation) look like nothing in particular.
_FLAT = 3.0

_ROWS_AT_A_TIME = 1024


def one_file(listing: Listing) -> list[tuple[ListedImage, ...]]:
    """Groups of images that are one file under several names: by links, hard links, or entries of an archive.

    Nothing is read. An image that cannot be found is in no group.
    """
    by_file: dict[tuple[object, ...], list[ListedImage]] = {}
    for image in listing.images:
        file = listing.files[image.place]
        if file.member is not None:
            key: tuple[object, ...] = (file.on_disk, file.member.header_offset)
        else:
            try:
                status = file.path.stat()
            except OSError:
                continue
            key = (status.st_dev, status.st_ino)
        by_file.setdefault(key, []).append(image)
    return [tuple(group) for group in by_file.values() if len(group) > 1]


def same_files(digests: Sequence[bytes]) -> list[tuple[int, ...]]:
    """Groups of indices with the same digest; empty digests, of files that could not be read, are in none.

    >>> same_files([b"a", b"b", b"a", b"", b""])
    [(0, 2)]
    """
    by_digest: dict[bytes, list[int]] = {}
    for index, digest in enumerate(digests):
        if digest:
            by_digest.setdefault(digest, []).append(index)
    return [tuple(group) for group in by_digest.values() if len(group) > 1]


def look_alike(thumbnails: npt.NDArray[np.uint8]) -> list[tuple[int, ...]]:
    """Groups of images that look alike, or are linked by others that do; images without contrast are in none.

    All pairs are compared: N = 10,000 take seconds, and ten times as many take a hundred times as long.

    Args:
        thumbnails: uint8 [N, 3, 16, 16].
    """
    fine = thumbnails.astype(np.float32)
    coarse = fine.reshape(len(fine), 3, SIDE // 2, 2, SIDE // 2, 2).mean((3, 5))
    contrast = coarse.std((1, 2, 3)) >= _FLAT
    members = np.flatnonzero(contrast)
    if not len(members):
        return []
    pairs = list(_pairs(_units(coarse[members]), _units(fine[members])))
    return [tuple(members[list(group)].tolist()) for group in linked(pairs)]


def _units(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Each image minus its mean, as a vector of length 1: their products are correlations."""
    flat = images.reshape(len(images), -1)
    flat = flat - flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _pairs(coarse: npt.NDArray[np.float32], fine: npt.NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    starts = range(0, len(coarse), _ROWS_AT_A_TIME)
    for start in progress(starts, "comparing images", "block"):
        likeness = coarse[start : start + _ROWS_AT_A_TIME] @ coarse[start:].T
        for one, other in np.argwhere(likeness >= _COARSE):
            if one < other and float(fine[start + one] @ fine[start + other]) >= _FINE:
                yield int(start + one), int(start + other)


def linked(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """The groups that pairs make of what they link, each sorted, in the order of their first members.

    >>> linked([(0, 4), (7, 8), (4, 5)])
    [(0, 4, 5), (7, 8)]
    """
    import scipy.sparse

    if not pairs:
        return []
    names, numbers = np.unique(np.array(pairs), return_inverse=True)
    first, second = numbers.reshape(-1, 2).T
    graph = scipy.sparse.coo_array((np.ones(len(pairs)), (first, second)), shape=(len(names), len(names)))
    count, group_of = scipy.sparse.csgraph.connected_components(graph, directed=False)
    groups = [tuple(names[group_of == group].tolist()) for group in range(count)]
    return sorted(groups)
