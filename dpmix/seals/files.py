"""Digests of files, and the record of those of a folder.

A record of files has their digests in its entry `files`, by their paths relative to its folder. Folders in other
libraries' formats have such a record in `digests.json`.
"""

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dpmix.errors import DataError
from dpmix.execution import on_all_cores
from dpmix.files import atomic_directory, read_json
from dpmix.progress import progress
from dpmix.seals.records import AGAIN, SEAL, Record, changed, read_record, write_record

FILES = "files"
DIGESTS, SOURCE = "digests.json", "source.json"  # records beside the files of a folder, each with its own seal

READ_AT_A_TIME = 2**20  # bytes
_BLOCK = 2**25


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits; of one above 32 MiB, that of the SHA-256 sums of its blocks.

    Blocks are read by as many threads as there are cores. A file that a process has read once and that has not changed
    since, by its size and times, is not read again.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        status = path.stat()
        return _digest(path.resolve(), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    except OSError as error:
        reason = "it is a folder" if path.is_dir() else error.strerror or str(error)
        raise DataError(f"cannot read {path}: {reason}; {AGAIN}") from error


@functools.lru_cache(maxsize=2**16)
def _digest(path: Path, size: int, *_: int) -> str:
    if size <= _BLOCK:
        return _of_block(path, 0).hex()
    starts = range(0, size, _BLOCK)
    sums = on_all_cores(functools.partial(_of_block, path), starts)
    return hashlib.sha256(b"".join(progress(sums, f"checking {path.name}", "block", len(starts)))).hexdigest()


def _of_block(path: Path, start: int) -> bytes:
    seen, left = hashlib.sha256(), _BLOCK
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (part := file.read(min(left, READ_AT_A_TIME))):
            seen.update(part)
            left -= len(part)
    return seen.digest()


def digests_of(folder: Path) -> dict[str, str]:
    """The digests of all files of a folder, by their paths relative to it; but of hidden ones, and of its notes."""
    named = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name.as_posix(): file_digest(path)
        for name, path in named.items()
        if not any(part.startswith(".") for part in name.parts) and name.as_posix() not in (DIGESTS, SOURCE)
    }


def check_files(folder: Path, digests: Mapping[str, str], remedy: str = "") -> None:
    """Check files of a folder against their digests. Under torchrun, the first process of each machine does.

    Args:
        folder: the folder.
        digests: by the files' paths relative to it.
        remedy: what to do if one is missing or another; by default to delete the folder and run the command again.

    Raises:
        DataError: for the first file that is missing or was changed.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    remedy = remedy or f"delete {folder} and run the same command again"
    for name, said in digests.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing; {remedy}")
        if file_digest(path) != said:
            raise changed(path, remedy)


@contextlib.contextmanager
def sealed_directory(path: Path) -> Iterator[Path]:
    """`atomic_directory`, whose files get a record of their digests, `digests.json`, when all are written."""
    with atomic_directory(path) as folder:
        yield folder
        seal_folder(folder)


def seal_folder(folder: Path, **more: Any) -> None:
    """Write `digests.json` for the files of a folder, with further entries."""
    write_record(folder / DIGESTS, {FILES: digests_of(folder), **more})


def check_folder(folder: Path) -> Record | None:
    """Check the files of a folder against its `digests.json`, and return that; None if there is none.

    Raises:
        DataError: for the first file that is missing or was changed.
    """
    note = folder / DIGESTS
    if not os.path.lexists(note):
        return None
    remedy = f"delete {folder} and run the same command again"
    record = read_record(note, remedy)
    check_files(folder, record[FILES], remedy)
    return record


def seal_of(path: Path) -> str | None:
    """The digest that what lies at the path of an artefact says of itself: of its record, or its folder's.

    None if it says none. Nothing is checked.
    """
    note = path.parent / DIGESTS
    place = note if note.is_file() else path
    values = read_json(place) if place.is_file() else None
    said = values.get(SEAL) if isinstance(values, dict) else None
    return None if said is None else str(said)


def check_made(path: Path) -> None:
    """Check what lies at the path of an artefact: a record and the files that it lists, or the folder of `path`.

    Raises:
        DataError: if something of it is missing, cannot be read or was changed.
    """
    if os.path.lexists(path.parent / DIGESTS):
        check_folder(path.parent)
    elif path.suffix == ".json":
        check_files(path.parent, read_record(path).get(FILES, {}))
