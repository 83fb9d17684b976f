"""Files that are either whole or absent: write beside the target, then rename."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from dpmix.errors import DataError, DpmixError, one_line


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on any error it is removed.

    Raises:
        DpmixError: if `path` is a folder, or the disk is full or not writable, whatever error the library that writes
            raises for it.
    """
    path = Path(path)
    with _one_line(path):
        if path.is_dir():
            raise DpmixError(f"cannot write {path}: it is a folder; name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays last because writers such as savefig and np.save read it.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            temporary.chmod(0o666 & ~_umask())
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it replaces `path`, on any error it is removed.

    Raises:
        DpmixError: as `atomic_file` does.
    """
    path = Path(path)
    with _one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            temporary.chmod(0o777 & ~_umask())
            yield temporary
            replace_directory(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def lock(file: int | IO[Any], wait: bool = True) -> bool:
    """Have an open file or folder to this process alone, until it is closed; where there are no such locks, as it is.

    Args:
        file: it, or its descriptor.
        wait: for another process that has it.

    Returns:
        Whether no other process has it.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


def replace_directory(new: Path, path: Path) -> None:
    """Move the folder `new` to `path`, on the same disk. A folder that is there is first moved away, then deleted."""
    if not path.exists():
        os.replace(new, path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        os.replace(path, aside / path.name)
        os.replace(new, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """A context that turns errors of writing `path` into a `DpmixError` of one line."""
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise DpmixError(f"cannot write {path}: {reason}; free space or choose another folder") from error


def _reason(error: Exception) -> str | None:
    """Why writing failed, as the system says it; None for an error that has another cause."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, DpmixError):
        return None
    from dpmix.network import no_room

    return no_room(error)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all.

    Raises:
        DataError: for a text with the name of a file or folder whose bytes are not UTF-8.
    """
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        name = text[: error.end].split('"')[-1].encode("ascii", "backslashreplace").decode()
        raise DataError(f"the name {name}… is not in UTF-8, and {Path(path).name} must hold it; rename it") from error
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path, remedy: str = "delete it and make it again") -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        remedy: what to do if it is damaged, for the message.

    Raises:
        DataError: if it is missing, cannot be read or is not valid JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; run the step that makes it") from error
    except OSError as error:
        reason = "it is a folder" if Path(path).is_dir() else error.strerror or str(error)
        raise DataError(f"cannot read {path}: {reason}; {remedy}") from error
    # A number of thousands of digits is a ValueError, and brackets within thousands of brackets a RecursionError.
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({one_line(error, 100)}); {remedy}") from error


def read_object(path: Path, remedy: str = "delete it and make it again", entries: Iterable[str] = ()) -> dict[str, Any]:
    """The content of a JSON file that holds an object.

    Args:
        path: the file.
        remedy: what to do if it is damaged, for the message.
        entries: names that the object must have.

    Raises:
        DataError: as `read_json` does, or if it holds something else or lacks an entry.
    """
    values = read_json(path, remedy)
    if not isinstance(values, dict):
        kinds = {list: "a list", str: "a text", type(None): "nothing", bool: "a truth value"}
        raise DataError(f"{path} holds {kinds.get(type(values), 'a number')} and no JSON object; {remedy}")
    for name in entries:
        if name not in values:
            raise DataError(f"{path} has no {name!r}, so it is not whole; {remedy}")
    return values
