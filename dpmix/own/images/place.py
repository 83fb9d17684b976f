"""Where private images lie, whichever way they are named, and what goes beside them: a model, and what was spent.

A folder, a path with a slash at its end, a link, a table in the folder or beside it, and the folder's archive are doors
to the same images. What was spent on them must add up whichever door is taken.
"""

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from dpmix.data.file_names import suffix
from dpmix.data.listing import Listing
from dpmix.data.table_rows import given_table
from dpmix.data.tree import TABLES, is_archive
from dpmix.errors import DataError

_SPENT = ".dpmix-spent.json"


def expanded(path: str | Path) -> Path:
    """A path with `~` for a home folder; one that exists as it is written is that one."""
    written = Path(path)
    if os.path.lexists(written):
        return written
    try:
        return written.expanduser()
    except RuntimeError:  # nobody is called so
        return written


def is_table(images: Path) -> bool:
    """Whether images are named by a table and not by their folder or archive."""
    return suffix(images.name) in TABLES and not images.is_dir()


def root_of(images: Path) -> Path:
    """The folder or archive of these images, links followed: of a table the folder that it lies in.

    A table beside a folder or archive of its own name is of that one.

    Raises:
        DataError: for a table that is missing or damaged.
    """
    place = expanded(images).resolve()
    if not is_table(place):
        return place
    tree, _ = given_table(place)
    named = tree.root / place.stem
    of_its_name = tree.images and all(name.startswith(f"{place.stem}/") for name in tree.images)
    return (named if of_its_name and named.is_dir() else tree.root).resolve()


def holder_of(images: Path) -> Path:
    """The innermost folder that all of these images lie in, or their archive: no model may be written there.

    It is `root_of` but for a table, beside which a model may lie if no image does.
    """
    place = expanded(images).resolve()
    if not is_table(place):
        return place
    tree, _ = given_table(place)
    folders = {str(file.on_disk.parent) for file in tree.images.values()}
    return Path(os.path.commonpath(folders)).resolve() if folders and not is_archive(tree.root.name) else tree.root


def name_of(root: Path) -> str:
    """What images are called: the name of their folder, or of their archive without its suffix."""
    return root.stem if is_archive(root.name) and not root.is_dir() else root.name


def beside(root: Path, ending: str) -> Path:
    """What is called after a folder or archive and lies beside it.

    Raises:
        DataError: if it is the root of the file system.
    """
    if not root.name:
        raise DataError(f"images in {root} itself have nothing beside them; move them into a folder")
    return root.with_name(name_of(root) + ending)


def place_of(images: Path) -> Path:
    """Where the record of what was spent on images lies, whichever way they are named: beside their folder or archive.

    Raises:
        DataError: as `root_of` and `beside` do.
    """
    return beside(root_of(images), _SPENT)


def other_places(listing: Listing) -> tuple[Path, ...]:
    """Records of all folders and archives that hold some of these images, links followed; those that exist.

    Runs on a part of the images, on a folder around them, or by links to them have spent on some of them too; of the
    last there is an entry beside the folder that the links lead into (`linked_places`).
    """
    around = {folder for one in _holders(listing) for folder in (one, *one.parents) if folder.name}
    # Of an archive there was once a record by its whole name.
    places = {folder.with_name(name + _SPENT) for folder in around for name in (name_of(folder), folder.name)}
    return tuple(sorted(place for place in places if place.is_file()))


def left_behind(images: Path) -> tuple[Path, ...]:
    """Records beside these images whose own folder or archive is not there any more: it may be these, renamed."""
    root = root_of(images)
    there = {name_of(one) for one in root.parent.iterdir() if one.is_dir() or is_archive(one.name)}
    records = root.parent.glob(f"*{_SPENT}")
    return tuple(sorted(one for one in records if one.name.removesuffix(_SPENT) not in there))


def linked_places(images: Path, listing: Listing) -> tuple[Path, ...]:
    """Where a run on images that are links is entered besides, so that runs on the folder that they lead into find it.

    That is beside the folder that holds all images which lie elsewhere, or beside several such folders: a folder that
    holds `images` too, or beside which nothing can be written, is not taken but those in it.

    Args:
        images: as they are named.
        listing: what they are.

    Returns:
        Nothing if all images lie in the folder or archive that they are named by.
    """
    root = root_of(images)
    elsewhere = {one for one in _holders(listing) if not one.is_relative_to(root)}
    return tuple(sorted(beside(folder, _SPENT) for folder in _tops(elsewhere, root)))


def _holders(listing: Listing) -> set[Path]:
    """The real folders and archives that images lie in."""
    found = {listing.files[image.place].on_disk for image in listing.images}
    # Links are resolved folder by folder, which are few, but for files that are links themselves.
    real = {folder: Path(os.path.realpath(folder)) for folder in {path.parent for path in found}}
    files = {Path(os.path.realpath(path)) if path.is_symlink() else real[path.parent] / path.name for path in found}
    return {path if is_archive(path.name) else path.parent for path in files}


def _tops(folders: set[Path], root: Path) -> Iterator[Path]:
    """The highest folders that hold these, but not `root`, and beside which a file can be written."""
    if not folders:
        return
    top = Path(os.path.commonpath(folders))
    beside_it = top.name and os.access(top.parent, os.W_OK)
    if top in folders or (beside_it and not root.is_relative_to(top)):
        yield top
        return
    for _, group in groupby(sorted(folders), key=lambda one: one.relative_to(top).parts[0]):
        yield from _tops(set(group), root)
