"""Digests that are written with what is made, and checked when it is opened: damage and changes do not pass silently.

- A *record* is a JSON object whose entry `sha256` is the SHA-256 of all its other entries, as canonical JSON; but for
  `times`, which have one of their own: two runs of the same have the same digest.
- A record of files has their digests in its entry `files`, by their paths relative to its folder. Folders in other
  libraries' formats have such a record in `digests.json`.
- A *sealed* safetensors file says in its metadata, also as `sha256`, the SHA-256 of itself with zeros in that place.

A file is read at the speed of the disk or of all cores, and once in a process. Files of versions that wrote no digests
are read as they are; of the first, a line says so.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dpmix.errors import DataError
from dpmix.files import atomic_directory, atomic_file, read_json, write_json
from dpmix.progress import progress, say

if TYPE_CHECKING:
    from torch import Tensor

SEAL, FILES, TIMES = "sha256", "files", "times"
DIGESTS, SOURCE = "digests.json", "source.json"  # records beside the files of a folder, each with its own seal
AGAIN = "delete it and run the same command again"

_BLOCK = 2**25  # bytes
_READ_AT_A_TIME = 2**20
_OPEN = "0" * 64


# Records --------------------------------------------------------------------------------------------------------------


class Record(dict[str, Any]):
    """What a record holds, without its seal; an entry that it lacks is a `DataError` that names the file."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise DataError(f"{self.path} has no {key!r}, so it is not whole; {AGAIN}")


def record_digest(values: Mapping[str, Any]) -> str:
    """The SHA-256 of JSON values but their `times`, whatever the order and layout in which a file has them."""
    text = json.dumps({name: values[name] for name in values if name != TIMES}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _with_seals(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with their digest, and with that of their times, which have one of their own."""
    times = values.get(TIMES)
    sealed = {TIMES: {**times, SEAL: record_digest(times)}} if isinstance(times, dict) else {}
    return {**values, **sealed, SEAL: record_digest(values)}


def _times_are_whole(values: dict[str, Any]) -> bool:
    """Whether the times in a record are those of their digest, which is taken away; so are times without one."""
    times = values.get(TIMES)
    said = times.pop(SEAL, None) if isinstance(times, dict) else None
    return said is None or said == record_digest(times or {})


def write_record(path: Path, values: Mapping[str, Any]) -> None:
    """Write a record, whole or not at all.

    Args:
        path: the file.
        values: JSON values, by name; none is called `sha256`.
    """
    plain = json.loads(json.dumps(values))  # as they will be read: with lists for tuples
    write_json(path, _with_seals(plain))


def read_record(path: Path, remedy: str = AGAIN) -> Record:
    """What `write_record` wrote, checked against its digest.

    Args:
        path: the file.
        remedy: what to do if it is damaged, for the message.

    Raises:
        DataError: if the file is missing, cannot be read, is no JSON object or was changed.
    """
    values = read_json(path, remedy)
    if not isinstance(values, dict):
        raise DataError(f"{path} holds {_kind(values)} and no JSON object; {remedy}")
    said = values.pop(SEAL, None)
    if said is None and not _lost_its_name(values):
        _say_unsealed(path)
    elif said != record_digest(values) or not _times_are_whole(values):
        raise DataError(f"{path} was damaged or changed after it was written (its digest is another); {remedy}")
    return Record(path, values)


def _lost_its_name(values: Mapping[str, Any]) -> bool:
    """Whether an entry is the digest of all others: a record whose `sha256` was damaged in that word."""
    like = [name for name, value in values.items() if isinstance(value, str) and len(value) == len(_OPEN)]
    return any(
        values[lost] == record_digest({name: value for name, value in values.items() if name != lost}) for lost in like
    )


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", type(None): "nothing", bool: "a truth value"}.get(type(value), "a number")


_UNSEALED: list[Path] = []


def _say_unsealed(path: Path) -> None:
    """Say of the first file in a process that it cannot be checked."""
    if not _UNSEALED:
        _UNSEALED.append(path)
        say(f"{path} has no digest, as files of earlier versions have none: what has none is read unchecked")


# Files ----------------------------------------------------------------------------------------------------------------


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
    with ThreadPoolExecutor(max_workers=min(_cores(), 16, len(starts))) as workers:
        sums = workers.map(functools.partial(_of_block, path), starts)
        return hashlib.sha256(b"".join(progress(sums, f"checking {path.name}", "block", len(starts)))).hexdigest()


def _of_block(path: Path, start: int) -> bytes:
    seen, left = hashlib.sha256(), _BLOCK
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (part := file.read(min(left, _READ_AT_A_TIME))):
            seen.update(part)
            left -= len(part)
    return seen.digest()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
            raise DataError(f"{path} was damaged or changed after it was written (its digest is another); {remedy}")


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


# Tensors --------------------------------------------------------------------------------------------------------------


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> None:
    """Write a sealed safetensors file, whole or not at all.

    Args:
        path: the file.
        tensors: by name, on any device.
        metadata: texts by name, none of which is called `sha256`.
    """
    from safetensors.torch import save_file

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_file(path) as temporary:
        save_file(whole, temporary, metadata={**metadata, SEAL: _OPEN})
        with temporary.open("r+b") as file:
            _sort_metadata(file)
        digest, place = _sealed(temporary, _OPEN)
        with temporary.open("r+b") as file:
            file.seek(place)
            file.write(digest.encode())


def _sort_metadata(file: BinaryIO) -> None:
    """Put the texts in a safetensors file's header in order: the library's is another each time."""
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    file.seek(8)
    file.write(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length))


def check_tensors(path: Path, metadata: Mapping[str, str], remedy: str) -> None:
    """Check a safetensors file against the digest in its metadata.

    Args:
        path: the file, whose header could be read.
        metadata: what the header says.
        remedy: what to do if the file was changed, for the message.

    Raises:
        DataError: if it was changed.
    """
    said = metadata.get(SEAL)
    if said is None:
        _say_unsealed(path)
    elif _sealed(path, said)[0] != said:
        raise DataError(f"{path} was damaged or changed after it was written (its digest is another); {remedy}")


def _sealed(path: Path, said: str) -> tuple[str, int]:
    """The SHA-256 of a safetensors file with zeros for the digest that it says, and the place of that digest."""
    with path.open("rb") as file:
        start = file.read(8)
        start += file.read(min(int.from_bytes(start, "little"), path.stat().st_size))
        place = start.find(json.dumps({SEAL: said}, separators=(",", ":")).encode()[1:-1]) + len(SEAL) + 4
        seen = hashlib.sha256(start[:place] + _OPEN.encode() + start[place + len(said) :])
        while part := file.read(_READ_AT_A_TIME):
            seen.update(part)
    return seen.hexdigest(), place


def tensors_digest(path: Path) -> str:
    """The SHA-256 of the tensors in a safetensors file, by their names, types, shapes and values.

    It does not depend on the order of tensors in the file or on its metadata, which differ between versions of the
    libraries that write them. Of a file in another format it is the file's own digest.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError:
        return file_digest(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        seen = hashlib.sha256()
        for name in sorted(header):
            begin, end = header[name]["data_offsets"]
            seen.update(json.dumps([name, header[name]["dtype"], header[name]["shape"]]).encode())
            file.seek(8 + length + begin)
            while begin < end and (part := file.read(min(end - begin, _READ_AT_A_TIME))):
                seen.update(part)
                begin += len(part)
    return seen.hexdigest()
