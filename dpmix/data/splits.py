"""Draws a split into training and test images, stratified by class, for data sets that come without one.

It uses `dpmix.random` and no library's generator, so that the split is the same on every machine and with any version.
"""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from dpmix.data.decoding import Part
from dpmix.errors import DataError, PrivacyError

SPLIT_SEED = 2023

# The `split_digest` that a split must have, by its name and number of images: published results depend on it.
SPLIT_DIGESTS = {("digits", 1797): "91b394f2180ddea47eada74e2462f21342eedaca56f7a6d42a830808f1dadd1a"}


def stratified_split(
    labels: npt.NDArray[np.int64], test: int, name: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """A random split in which each class has about the same share of test images.

    Each class gives its share of the test images, rounded down; the classes with the largest remainders give one more,
    until there are `test` of them (among equal remainders the first classes).

    Args:
        labels: int64 [N].
        test: how many test images to draw.
        name: of the data set; it determines the draw.

    Returns:
        The sorted indices of the training images, int64 [N - test], and of the test images, int64 [test].

    Raises:
        ValueError: unless 0 <= test <= N.
    """
    from dpmix.random import KeyedRandom

    if not 0 <= test <= len(labels):
        raise ValueError(f"cannot take {test} test images out of {len(labels)}")
    counts = np.bincount(labels)
    quota, remainder = np.divmod(counts * test, max(len(labels), 1))
    quota[np.argsort(-remainder, kind="stable")[: test - quota.sum()]] += 1
    keys = KeyedRandom(SPLIT_SEED, 0, np.arange(len(labels))).uniform(f"split/{name}")
    order = np.lexsort((keys, labels))
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = rank < quota[labels]
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def split_digest(test: npt.NDArray[np.int64]) -> str:
    """The SHA-256 of a split, computed from the indices, int64 [m], of its test images in any order."""
    return hashlib.sha256(np.sort(np.asarray(test)).astype("<i8").tobytes()).hexdigest()


def split_parts(part: Part, test: int, name: str, where: str) -> tuple[dict[str, Part], dict[str, Any]]:
    """Split the images of a data set by `stratified_split`.

    Args:
        part: all images.
        test: how many test images to draw.
        name: of the data set; it determines the draw.
        where: how messages begin.

    Returns:
        The parts `train` and `test`, and values for the store's meta.json.

    Raises:
        DataError: if there are not more than `test` images, or the split is not the one that results depend on.
    """
    total = len(part.labels)
    if test >= total:
        raise DataError(f"{where}{test} test images asked for, but there are {total} images in all; ask for fewer")
    train, held = stratified_split(part.labels, test, name)
    digest = split_digest(held)
    if SPLIT_DIGESTS.get((name, total), digest) != digest:
        raise DataError(
            f"{where}the split drawn is not the one that results rest on, so the images or their classes have changed; "
            "fetch them again"
        )
    drawn = {"split": f"stratified, keyed by {name!r}", "split_seed": SPLIT_SEED, "split_sha256": digest}
    return {"train": part.only(train), "test": part.only(held)}, drawn


def drawn_for_a_release(name: str, path: str) -> PrivacyError:
    """The error for a release on images whose training set was drawn here.

    Quotas follow from the counts of classes and draws from places in a list: of 100 images one that leaves moves about
    30 others. (`dpmix train` decides by names, one by one.)

    Args:
        name: of the data set.
        path: of its images.
    """
    return PrivacyError(
        f"{name}: {path} has no folders train and test, so that which images are trained on was drawn by the classes "
        "and places of all, which ε does not cover; lay the images into train/ and test/, for a release"
    )
