"""What images something was made of: a note in its folder, by which a change of these images is noticed later.

`source.json` has the place of the images, a folder, an archive or a table, and two fingerprints of it: `stamps`, a hash
of the names, sizes and times of change of all files, and `content`, of their names and bytes. If the times are others,
the bytes are read and decide: a copy of a folder is the same images. The note then gets the new times.

The files are images, archives, and the tables that say what is on them (`dpmix.data.label_table`), in the folder or
beside it. Of a table that is given by its path they are the table and the images that it names.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dpmix.data.file_names import suffix, suffixes
from dpmix.data.label_table import HEADER, may_name_files
from dpmix.data.table_rows import given_table, path_beside
from dpmix.data.tree import TABLES
from dpmix.errors import DataError, DpmixError
from dpmix.progress import progress
from dpmix.seals import SOURCE, file_digest, read_record, write_record


def fingerprint(root: Path, content: bool = False) -> str:
    """The SHA-256 of the names of all images, archives and tables at a place, and of their sizes and times or bytes.

    Args:
        root: a folder, below which hidden files and files of other kinds are not looked at; an archive; or a table.
        content: whether to read all files.

    Raises:
        DataError: if a file cannot be read, or a table is damaged.
    """
    seen = hashlib.sha256()
    found = sorted(_files(root))
    for name, path in progress(found, f"checking {root.name}", "file") if content else found:
        said = file_digest(path) if content else stamp(path, "replace or remove it")
        seen.update(json.dumps([name, said]).encode(errors="surrogateescape"))
    return seen.hexdigest()


def stamp(path: Path, remedy: str) -> list[int]:
    """A file's size in bytes and times of change in ns, by which one that was replaced or moved here is noticed.

    Args:
        path: the file.
        remedy: what to do if it is gone, for the message.

    Raises:
        DataError: if it is.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    # A file that is moved to another's place keeps its own time of change, but not that of its entry.
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """The files at a place, by name; folders that are links are entered, each once."""
    if root.is_file():
        yield root.name, root
        if suffix(root.name) in TABLES:
            tree, _ = given_table(root)
            for path in {file.on_disk for file in tree.images.values()}:
                yield os.path.relpath(path, root.parent), path
            return
    if (beside := path_beside(root)) is not None:
        yield f"../{beside.name}", beside
    if root.is_file():
        return
    known, entered = suffixes() | {".zip"}, set[str]()
    for folder, folders, files in os.walk(root, followlinks=True):
        entered.add(os.path.realpath(folder))
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(folder, name)) not in entered
        ]
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and (suffix(name) in known or (suffix(name) in TABLES and _names_files(path))):
                yield path.relative_to(root).as_posix(), path


def _names_files(table: Path) -> bool:
    try:
        with table.open("rb") as file:
            return may_name_files(file.read(HEADER))
    except OSError:  # who lists the images says so
        return False


def note(folder: Path, root: Path) -> None:
    """Write the note into a folder, or into one that is to become it, that it is made of the images at `root`."""
    values = {"root": str(root), "stamps": fingerprint(root), "content": fingerprint(root, content=True)}
    write_record(folder / SOURCE, values)


def check(folder: Path, also: Callable[[], Sequence[Path]] = tuple) -> None:
    """Check that the images of which a folder was made are as they were, if it has a note and they are still there.

    Args:
        folder: what was made.
        also: gives what was made from it, and is to be deleted with it; called only if they have changed.

    Raises:
        DataError: if they have changed, or the note is damaged.
    """
    place = folder / SOURCE
    if not place.is_file():
        return
    said = read_record(place)
    root = Path(str(said["root"]))
    if not root.exists() or (times := fingerprint(root)) == said["stamps"]:
        return
    if fingerprint(root, content=True) != said["content"]:
        # Of D the images that are as they were stay, once its manifest is gone.
        gone = [folder, *([root / "manifest.json"] if (root / "manifest.json").is_file() else []), *also()]
        raise DataError(
            f"{root} has changed since {folder} was made of it; put back what was there, or delete "
            f"{' and '.join(map(str, gone))} and run the same command again"
        )
    with contextlib.suppress(DpmixError):  # somebody else's folder
        write_record(place, {**said, "stamps": times})
