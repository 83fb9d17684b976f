"""All files of a data set as names below one root, whether it is a folder, a zip archive, or a folder of archives.

A file's *place* is its name below the root, with slashes: `train/cat/1.png`, or in a folder of archives
`train-0.zip/cat/1.png`. No image is opened; what is no image by its name is passed over, and said to be.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dpmix.data import zips
from dpmix.data.file_names import is_image, objection, printable, right_suffix, suffix
from dpmix.errors import DataError

EMPTY = "an empty folder"

TABLES = frozenset({".csv", ".tsv", ".jsonl"})


class Skipped(NamedTuple):
    """A file or folder that is not used.

    Attributes:
        place: its name below the root, as it can be printed; a folder's ends with a slash.
        why: the reason, as the end of a sentence that begins with the name.
    """

    place: str
    why: str


class Tree(NamedTuple):
    """What lies below a root.

    Attributes:
        root: a folder or a zip archive.
        images: by place, sorted, the files that are images by their names.
        tables: by place, sorted, the files that may be tables of labels: `TABLES`.
        archives: by place, sorted, zip archives in a folder.
        skipped: what is none of these.
    """

    root: Path
    images: Mapping[str, zips.File]
    tables: Mapping[str, zips.File]
    archives: Mapping[str, zips.File]
    skipped: tuple[Skipped, ...]


def is_archive(name: str) -> bool:
    """Whether a file is a zip archive by its name."""
    return suffix(name) == ".zip"


def read_tree(root: Path) -> Tree:
    """The files below a folder, or in a zip archive.

    Links are followed, but not into a folder that they lie in.

    Raises:
        DataError: if it does not exist or is something else, or a folder or archive cannot be read.
    """
    root = Path(root).expanduser()
    if printable(str(root)) != str(root):
        raise DataError(f"{printable(str(root))} is no path in UTF-8, or has letters that cannot be printed; rename it")
    if is_archive(root.name) and not root.is_dir():
        return _sorted(root, _members(root))
    if not root.is_dir():
        what = "is no folder, zip archive or table" if root.exists() else "does not exist"
        raise DataError(f"{root} {what}; give a folder with a folder of images for each class, a zip archive or a CSV")
    found: list[tuple[str, zips.File] | Skipped] = []
    _walk(root, "", (os.path.realpath(root),), found)
    return _sorted(root, found)


def archive_tree(tree: Tree, place: str) -> Tree:
    """The files in one of a folder's archives; their places begin with that of the archive."""
    path = tree.archives[place].path
    return _sorted(tree.root, _members(path, f"{place}/"))


def _sorted(root: Path, found: "list[tuple[str, zips.File] | Skipped]") -> Tree:
    kinds: dict[str, dict[str, zips.File]] = {"images": {}, "tables": {}, "archives": {}}
    skipped = []
    for one in found:
        if isinstance(one, Skipped):
            skipped.append(one)
            continue
        place, file = one
        kind = _kind(place.rsplit("/", 1)[-1], file)
        if not kind:
            skipped.append(Skipped(place, why_no_image(file)))
        elif place in kinds[kind]:
            raise DataError(f"{file.path} is there twice; keep one of them")
        else:
            kinds[kind][place] = file
    images, tables, archives = (dict(sorted(files.items())) for files in kinds.values())
    return Tree(root, images, tables, archives, tuple(sorted(skipped)))


def _kind(name: str, file: zips.File) -> str:
    """Which of `Tree`'s attributes a file belongs to; empty if to none."""
    if is_image(name, lambda: file.begins(16)):
        return "images"
    if suffix(name) in TABLES:
        return "tables"
    return "archives" if is_archive(name) else ""


def why_no_image(file: zips.File) -> str:
    """Why a file whose name is not that of an image is passed over."""
    right = right_suffix(file.begins(16))
    if right is not None:
        return f"an image by its content and not by its name; let its name end in {right}"
    return "not an image that Pillow reads; convert it if it is one"


def _walk(
    folder: Path, prefix: str, ancestors: tuple[str, ...], found: "list[tuple[str, zips.File] | Skipped]"
) -> None:
    """Append what lies in a folder to `found`; `ancestors` are the real paths of it and the folders around it."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({error.strerror}); give yourself the right to, or move it"
        ) from error
    before = len(found)
    for entry in listed:
        place, why = prefix + entry.name, objection(entry.name)
        if entry.is_dir():
            real = os.path.realpath(entry.path)
            if why is None and real in ancestors:
                why = "a link to a folder that it lies in"
            if why is not None:
                found.append(Skipped(printable(f"{place}/"), why))
            else:
                _walk(Path(entry.path), f"{place}/", (*ancestors, real), found)
        elif why is None and not entry.is_file():
            broken = entry.is_symlink() and not os.path.exists(entry.path)
            why = "a link to a file that does not exist" if broken else "neither a file nor a folder"
        if not entry.is_dir():
            found.append((place, zips.File(Path(entry.path))) if why is None else Skipped(printable(place), why))
    if prefix and len(found) == before:
        found.append(Skipped(prefix, EMPTY))


def _members(path: Path, prefix: str = "") -> "list[tuple[str, zips.File] | Skipped]":
    found: list[tuple[str, zips.File] | Skipped] = []
    for name, file in zips.members(path):
        why = next((why for part in name.parts if (why := objection(part))), None)
        if why is None:
            zips.refuse_unreadable(file)
        place = f"{prefix}{name}"
        found.append((place, file) if why is None else Skipped(printable(place), why))
    return found


class Files:
    """Finds files again by their places, as they were when `read_tree` saw them; opened archives are kept open."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._archives: dict[Path, dict[str, zips.File]] = {}

    def __getitem__(self, place: str) -> zips.File:
        """The file at a place.

        Raises:
            DataError: if an archive is missing or damaged, or does not hold it. A missing file is seen when it is read.
        """
        for archive, name in self._in_archives(place):
            if archive not in self._archives:
                self._archives[archive] = {str(member): file for member, file in zips.members(archive)}
            if name not in self._archives[archive]:
                raise DataError(f"{archive} no longer holds {name}; put it back, or begin anew")
            return self._archives[archive][name]
        return zips.File(self.root / place)

    def inner(self, place: str) -> tuple[str, ...]:
        """The folders and the name of the file at a place, below the archive of a folder that it is in."""
        parts = tuple(place.split("/"))
        return parts[1:] if any(archive != self.root for archive, _ in self._in_archives(place)) else parts

    def _in_archives(self, place: str) -> Iterator[tuple[Path, str]]:
        if is_archive(self.root.name) and not self.root.is_dir():
            yield self.root, place
        first, _, rest = place.partition("/")
        if rest and is_archive(first) and (self.root / first).is_file():
            yield self.root / first, rest
