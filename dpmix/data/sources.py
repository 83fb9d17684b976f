"""Makes the image store of a private data set, from scikit-learn, torchvision, folders, archives or a manifest.

CIFAR and Oxford-IIIT Pet come with a split into training and test images. EuroSAT, Caltech 256 and SUN397 have none,
and the paper (appendix C) does not publish its own, so theirs are drawn here (`dpmix.data.splits`), as are those of
scikit-learn's digits and of folders without a split. How the split is made is public; ε protects each training image.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dpmix.data import archives
from dpmix.data.decoding import Pool, part_of_pixels
from dpmix.data.folders import pool_of_folder
from dpmix.data.manifest import pool_of_manifest
from dpmix.data.splits import split_digest, split_parts, stratified_split
from dpmix.data.store import write_store
from dpmix.errors import DataError

if TYPE_CHECKING:
    from dpmix.params.specs import DatasetSpec

DIGITS_TRAIN, DIGITS_TEST = 1437, 360

# What a part of a folder's training images is drawn under, before its size.
DRAWN = "drawn/"


def prepare(spec: "DatasetSpec", resolution: int, raw: Path, out: Path) -> None:
    """Download or read a private data set, split it, and write its image store `out`, whole or not at all.

    Args:
        spec: the data set; its sizes are the published ones.
        resolution: R, in pixels.
        raw: the folder of downloads, shared by all data sets; not used for other sources.
        out: the folder of the image store. If it exists, it is replaced.

    Images decoded before an error are kept in `.<out>.partial` beside `out`, and the next call continues from there.

    Raises:
        DataError: if it cannot be fetched, an image cannot be read, or a size is not the published one.
        DpmixError: if the disk is full or not writable.
    """
    if spec.source == "torchvision":
        pool = _from_torchvision(spec, Path(raw))
    elif spec.source == "scikit-learn":
        pool = _from_scikit_learn(spec)
    elif spec.source == "listed":
        pool = pool_of_manifest(Path(spec.path or "."))
    else:
        told = spec.persons is not None
        pool = pool_of_folder(Path(spec.path or "."), spec.test, persons=told, skip_damaged=spec.skip_damaged)
        pool = _drawn(pool, spec)
    sizes = {split: len(part.labels) for split, part in pool.parts.items()}
    found = (len(pool.classes), sizes["train"], sizes["test"])
    train = "any number" if spec.train is None else spec.train
    if found != (spec.classes, sizes["train"] if spec.train is None else train, spec.test):
        raise DataError(
            f"{spec.name}: {pool.origin} holds {found[0]} classes, {found[1]} training and {found[2]} test images, but "
            f"its sizes are given as {spec.classes}, {train} and {spec.test}; {pool.remedy}"
        )
    if spec.persons is not None and (persons := _persons(pool)) != spec.persons:
        raise DataError(
            f"{spec.name}: {pool.origin} holds training images of {persons} persons, but persons is given as "
            f"{spec.persons}; {pool.remedy}"
        )
    source = Path(spec.path or ".") if spec.source == "folder" else None
    write_store(Path(out), pool, resolution, spec.channels, spec.name, source, counted=spec.persons is None)


def _drawn(pool: Pool, spec: "DatasetSpec") -> Pool:
    """The part of a folder's training images that `drawn_from` asks for, the same at every call; all without it.

    Raises:
        DataError: if the folder has another number of training images than `drawn_from` says.
    """
    if spec.drawn_from is None or spec.train is None:
        return pool
    whole = pool.parts["train"]
    if len(whole.labels) != spec.drawn_from:
        raise DataError(
            f"{spec.name}: {pool.origin} holds {len(whole.labels)} training images, but drawn_from is given as "
            f"{spec.drawn_from}; {pool.remedy}"
        )
    _, drawn = stratified_split(whole.labels, spec.train, f"{DRAWN}{spec.train}")
    source = {**pool.source, "drawn_from": spec.drawn_from, "drawn_sha256": split_digest(drawn)}
    return pool._replace(parts={**pool.parts, "train": whole.only(drawn)}, source=source)


def _persons(pool: Pool) -> int:
    """How many persons have training images; 0 where it is not known whose they are."""
    known = pool.parts["train"].persons
    return 0 if known is None else len(np.unique(known))


# Published data sets
def _from_scikit_learn(spec: "DatasetSpec") -> Pool:
    """Scikit-learn's digits, 8 x 8 pixels with levels 0 to 16; or a fixed subset of the 1,437 training images."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    parts, drawn = split_parts(part_of_pixels(pixels, digits.target), DIGITS_TEST, "digits", "digits: ")
    if spec.train is not None and spec.train < DIGITS_TRAIN:
        _, subset = stratified_split(parts["train"].labels, spec.train, "digits/subset")
        parts["train"] = parts["train"].only(subset)
    classes = tuple(str(name) for name in digits.target_names)
    remedy = f"give train at most {DIGITS_TRAIN}, test {DIGITS_TEST} and classes 10"
    return Pool(classes, parts, "scikit-learn", remedy, {"source": "scikit-learn", **drawn})


def _from_torchvision(spec: "DatasetSpec", raw: Path) -> Pool:
    fetched = archives.fetch(spec.name, raw, spec.mirrors, spec.checksums)
    parts, source = dict(fetched.parts), {"source": "torchvision", "split": "official"}
    if "test" not in parts:
        parts, drawn = split_parts(parts["train"], spec.test, spec.name, f"{spec.name}: ")
        source |= drawn
    folders = " and ".join(map(str, fetched.folders))
    return Pool(fetched.classes, parts, folders, f"delete {folders} and run again, to unpack it anew", source)
