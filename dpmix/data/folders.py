"""Images of folders, zip archives and tables before decoding: private ones with their splits, and public ones."""

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpmix.data import zips
from dpmix.data.class_names import matched, readable_names
from dpmix.data.decoding import Part, Pool, decode, open_image, part_of_paths
from dpmix.data.file_names import printable, suffix
from dpmix.data.images import SPLITS, Images
from dpmix.data.layout import with_archives
from dpmix.data.listing import ListedImage, Listing, leave_out_damaged, read_listing
from dpmix.data.splits import split_parts
from dpmix.data.table_rows import given_table, rows_by_place
from dpmix.data.tree import TABLES, Skipped, Tree, is_archive, read_tree
from dpmix.errors import DataError
from dpmix.progress import progress


# Folders of images
def pool_of_folder(root: Path, test: int, *, persons: bool = False, skip_damaged: bool = False) -> Pool:
    """The images of a folder data set before decoding, as `dpmix.data.listing.read_listing` understands them.

    Args:
        root: the folder, zip archive or table.
        test: how many test images to draw, stratified by class, where the images are not split already.
        persons: whether it must be known whose each image is.
        skip_damaged: whether to decode all images now and leave out those that cannot be read.

    Raises:
        DataError: for a layout that leaves open what is meant, files among the images that are none, or a class without
            a training image.
    """
    listing = in_order(read_listing(root, persons=persons, test_share=None, strict=True))
    remedy, whole = "correct the sizes in params.yaml or the folder", len(listing.images)
    if skip_damaged:
        listing = leave_out_damaged(listing, counted=not persons)
        remedy += f", from which {whole - len(listing.images)} damaged images are left out"
    pool = pool_of(listing, {"source": "folder", "split": listing.split}, remedy)
    pool = pool._replace(leave_out="leave out by skip_damaged: true, and correct the sizes, in params.yaml")
    if listing.split == "given":
        trained = {image.label for image in listing.of("train")}
        if missing := [name for number, name in enumerate(listing.classes) if number not in trained]:
            raise DataError(f"{root}: class {missing[0]!r} has no training image; add some, or remove its test images")
        return pool
    if persons:
        raise DataError(
            f"{root}: nobody may be in train and test, and nothing says which persons are in either; lay their images "
            "into folders train and test"
        )
    parts, drawn = split_parts(pool.parts["train"], test, "folder", f"{root}: ")
    return pool._replace(parts=parts, source={"source": "folder", **drawn})


def pool_of(listing: Listing, source: Mapping[str, Any], remedy: str) -> Pool:
    """Listed images before decoding.

    Args:
        listing: the images.
        source: what the store's meta.json says of the origin.
        remedy: what to do if their number is not the published one.
    """
    parts = {}
    for split in SPLITS:
        images = listing.of(split)
        persons = {name: number for number, name in enumerate(listing.persons(split))}
        parts[split] = part_of_files(
            [listing.files[image.place] for image in images],
            [image.label for image in images],
            np.array([persons[image.person] for image in images if image.person], dtype=np.int64) if persons else None,
        )
    return Pool(listing.classes, parts, str(listing.root), remedy, source, "leave out by `skip_damaged=True`")


def in_order(listing: Listing) -> Listing:
    """A listing by class, then by folders and names, in whichever archive of a folder an image is.

    Raises:
        DataError: for a file that two archives hold.
    """

    def key(image: ListedImage) -> tuple[int, tuple[str, ...], str]:
        return image.label, listing.files.inner(image.place), image.place

    images = tuple(sorted(listing.images, key=key))
    for one, other in itertools.pairwise(images):
        if one.split == other.split and key(one)[:2] == key(other)[:2]:
            both = f"{listing.root / other.place} is there twice, also as {listing.root / one.place}"
            raise DataError(f"{both}; keep one of them, or rename it")
    return replace(listing, images=images)


def part_of_files(
    files: Sequence[zips.File], labels: npt.ArrayLike, persons: npt.NDArray[np.int64] | None = None
) -> Part:
    """Image files, on disk or in archives, as a part; their labels int64 [N], and their persons if these are known."""
    return Part(
        np.asarray(labels, dtype=np.int64),
        lambda index: open_image(files[index].path, io.BytesIO(files[index].read())),
        lambda index: files[index].on_disk,
        persons,
    )


def class_files(source: Path, *, skip_damaged: bool = False) -> dict[str, list[zips.File]]:
    """The image files of each class of public images, by the class's name, sorted by name.

    Args:
        source: a folder, zip archive or table, as `dpmix.data.listing.read_listing` understands it. If it has training
            and test images, only the former are given.
        skip_damaged: whether to decode all images now and leave out those that cannot be read.

    Raises:
        DataError: for a layout that leaves open what is meant, or files among the images that are none.
    """
    listing = in_order(read_listing(source, test_share=None, skip_damaged=skip_damaged, strict=True))
    by_class: dict[str, list[zips.File]] = {}
    for image in listing.of("train"):
        by_class.setdefault(listing.classes[image.label], []).append(listing.files[image.place])
    return by_class


def files_at(places: Iterable[Path]) -> tuple[list[tuple[str, zips.File]], list[Skipped]]:
    """The image files at these places, with their names, and what else is there.

    Args:
        places: image files, tables that name some, and folders or zip archives of them at any depth.

    Raises:
        DataError: for a place that does not exist or has no image, a damaged table, and if there is no place.
    """
    files: list[tuple[str, zips.File]] = []
    skipped: list[Skipped] = []
    for place in (Path(each).expanduser() for each in places):
        if not place.exists():
            raise DataError(f"{printable(str(place))} does not exist; give image files, or folders of them")
        if not (place.is_dir() or is_archive(place.name) or suffix(place.name) in TABLES):
            files.append((printable(str(place)), zips.File(place)))
            continue
        tree = _tree_at(place)
        if not tree.images:
            raise DataError(f"{place} holds no image; give image files, or folders of them")
        files += [(str(tree.root / name), file) for name, file in tree.images.items()]
        others = [Skipped(name, "a table; its classes are not needed here") for name in tree.tables]
        skipped += [Skipped(str(tree.root / one.place), one.why) for one in (*tree.skipped, *others)]
    if not files:
        raise DataError("no image was given; give image files, or folders of them")
    return files, skipped


def _tree_at(place: Path) -> Tree:
    """The files at a place, those in the archives `train*.zip` and `test*.zip` of a folder too; or of a table."""
    if suffix(place.name) not in TABLES or place.is_dir():
        return with_archives(read_tree(place))[0]
    tree, tables = given_table(place, labelled=False)
    rows, _ = rows_by_place(tree, tables)
    return tree._replace(images={name: file for name, file in tree.images.items() if name in rows})


def decoded(files: Sequence[Path], resolution: int, channels: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Each image file decoded as for an image store: uint8 [C, R, R], shorter side resized to R, centre cropped.

    Raises:
        DataError: for a file that cannot be read as an image.
    """
    return decode(part_of_paths(files, np.zeros(len(files))), resolution, channels)


def read_public(
    source: str | Path, resolution: int, *, classes: Sequence[str] | None = None, channels: int = 3
) -> Images:
    """All images of a folder or zip archive of class folders, decoded into memory: uint8 [N, channels, R, R].

    The names of classes are those of their folders, in plain words (`class_names.readable`). Use it for public images;
    private images belong in an image store, which fixes the split and the published sizes.

    Args:
        source: a folder or zip archive of class folders. If it has `train` and `test`, only `train` is read.
        resolution: R, in pixels.
        classes: those of the private images, whose numbers the labels then are; a folder's name in plain words is one
            of theirs in plain words. By default the folders' own, in alphabetical order.
        channels: 3, or 1 for grey images.

    Raises:
        DataError: if there are no class folders, one of them is none of `classes`, or a file cannot be read as an
            image.
    """
    by_class = class_files(Path(source))
    names = tuple(readable_names(list(by_class)) if classes is None else classes)
    own = {name: number for number, name in enumerate(by_class)}
    numbers = own if classes is None else matched(list(by_class), names, str(source))
    listed = [(numbers[name], file) for name, files in by_class.items() for file in files]
    part = part_of_files([file for _, file in listed], [label for label, _ in listed])
    images = np.empty((len(part.labels), channels, resolution, resolution), dtype=np.uint8)
    for index, image in enumerate(progress(decode(part, resolution, channels), "decoding", "image", len(images))):
        images[index] = image
    return Images(images, part.labels, names)
