"""JSON records that carry their own digest.

A record is a JSON object whose entry `sha256` is the SHA-256 of all its other entries, as canonical JSON; but for
`times`, which have one of their own: two runs of the same have the same digest.
"""

import contextlib
import contextvars
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dpmix.errors import DataError
from dpmix.files import read_object, write_json
from dpmix.progress import say

SEAL, TIMES = "sha256", "times"
AGAIN = "delete it and run the same command again"


class Record(dict[str, Any]):
    """What a record holds, without its seal; an entry that it lacks is a `DataError` that names the file."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise DataError(f"{self.path} has no {key!r}, so it is not whole; {AGAIN}")


def changed(path: Path, remedy: str) -> DataError:
    """The error for a file whose bytes are not those that were written, and what to do about it."""
    return DataError(f"{path} was damaged or changed after it was written (its digest is another); {remedy}")


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


# Of each file that was read: its size and time of change, and what it holds.
_KEPT: contextvars.ContextVar[dict[Path, tuple[tuple[int, ...], Record]] | None] = contextvars.ContextVar(
    "kept", default=None
)


@contextlib.contextmanager
def records_read_once() -> Iterator[None]:
    """Within it, `read_record` reads and checks a file once, and again only if it has changed since.

    What it gives is then shared by all who ask, and is not to be written to. One within another keeps what that keeps.
    """
    if _KEPT.get() is not None:
        yield
        return
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def read_record(path: Path, remedy: str = AGAIN) -> Record:
    """What `write_record` wrote, checked against its digest; within `records_read_once`, from memory if it was read.

    Args:
        path: the file.
        remedy: what to do if it is damaged, for the message.

    Raises:
        DataError: if the file is missing, cannot be read, is no JSON object or was changed.
    """
    kept = _KEPT.get()
    if kept is None:
        return _checked(path, remedy)
    version = _version(path)
    if path not in kept or kept[path][0] != version:
        kept[path] = version, _checked(path, remedy)
    return kept[path][1]


def _version(path: Path) -> tuple[int, ...]:
    """What changes with a file; of one that is not there, nothing."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _checked(path: Path, remedy: str) -> Record:
    values = read_object(path, remedy)
    said = values.pop(SEAL, None)
    if said is None and not _lost_its_name(values):
        say_unsealed(path)
    elif said != record_digest(values) or not _times_are_whole(values):
        raise changed(path, remedy)
    return Record(path, values)


def _lost_its_name(values: Mapping[str, Any]) -> bool:
    """Whether an entry is the digest of all others: a record whose `sha256` was damaged in that word."""
    like = [name for name, value in values.items() if isinstance(value, str) and len(value) == 64]
    return any(
        values[lost] == record_digest({name: value for name, value in values.items() if name != lost}) for lost in like
    )


_UNSEALED: list[Path] = []


def say_unsealed(path: Path) -> None:
    """Say of the first file in a process that it cannot be checked."""
    if not _UNSEALED:
        _UNSEALED.append(path)
        say(f"{path} has no digest, as files of earlier versions have none: what has none is read unchecked")
