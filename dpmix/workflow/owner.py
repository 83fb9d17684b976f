"""Whose the locks of a folder are: Snakemake's say which files they cover, and not who holds them.

Each call leaves a note, `.snakemake/callers/<host>-<process>.json`, before it locks, and takes it away when it ends. A
call that was killed can do neither, so its locks and its note stay. The next call removes them if all notes are of
processes that are dead for certain: of this machine, and not running, or from before it was started anew.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from dpmix.errors import DataError, DpmixError
from dpmix.files import lock, read_object, write_json

RECORDS = Path(".snakemake")
_CALLERS, _LOCKS = "callers", "locks"


@dataclass(frozen=True)
class Caller:
    """A process that runs Snakemake.

    Attributes:
        host: the name of its machine.
        boot: what the machine was given when it was started, another each time; empty where that is not known.
        space: the space in which `process` is a number, as containers have their own; 0 where that is not known.
        process: its number.
        birth: how long its machine had run when it was started, in a unit of its own; 0 where that is not known. No
            setting of a clock changes it, as it would a time of day.
        since: when it called, as people write it.
    """

    host: str
    boot: str
    space: int
    process: int
    birth: int
    since: str

    @classmethod
    def this(cls) -> "Caller":
        """The process that asks."""
        now = datetime.now().strftime("%Y-%m-%d %H:%M")
        return cls(socket.gethostname(), _boot(), _space(), os.getpid(), _birth(os.getpid()), now)

    def is_dead(self) -> bool:
        """Whether it is certain that this process has ended. Of another machine's or container's, nothing is known."""
        if self.host != socket.gethostname():
            return False
        if self.boot != _boot():
            return True
        if self.space != _space():
            return False
        return not _runs(self.process) or _birth(self.process) != self.birth

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _space() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return _stat(process)[:1] not in (["Z"], ["X"])  # ended, and only not yet buried


def _birth(process: int) -> int:
    return int(_stat(process)[19]) if _stat(process) else 0


def _stat(process: int) -> list[str]:
    """What Linux says of a process, from its state on; nothing elsewhere."""
    try:
        # Its name, in brackets, comes first, and may hold anything.
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


@contextlib.contextmanager
def calling(records: Path = RECORDS) -> Iterator[None]:
    """A context in which this process may lock files; on entering, what dead processes have locked is free again.

    Args:
        records: the folder in which Snakemake keeps its records.
    """
    callers = records / _CALLERS
    callers.mkdir(parents=True, exist_ok=True)
    this = Caller.this()
    note = callers / f"{this.host}-{this.process}.json"
    with _alone(callers):
        found = _read(callers)
        if found and all(one is not None and one.is_dead() for one in found.values()):
            for path in (*(records / _LOCKS).glob("*.lock"), *found, *callers.glob(".*")):
                path.unlink(missing_ok=True)
        write_json(note, asdict(this))
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def locked(records: Path = RECORDS) -> DpmixError:
    """What to say to a call that met a lock: who holds it and, if that is not known, what to do."""
    this = Caller.this()
    others = [
        one
        for one in _read(records / _CALLERS).values()
        if one and (one.host, one.process) != (this.host, this.process)
    ]
    alive = [one for one in others if not one.is_dead()]
    here = [one for one in alive if one.host == this.host and one.space == this.space]
    if here:
        return DpmixError(
            f"another call of Snakemake is making these files ({here[0]}); wait until it has ended, or stop it"
        )
    of_whom = f"by {alive[0]}" if alive else "by a process that is not known"
    return DpmixError(
        f"these files are locked {of_whom}; if it has ended, free them by snakemake --unlock and run the same command "
        "again"
    )


def _read(callers: Path) -> dict[Path, Caller | None]:
    """All notes; None for one that cannot be read.

    What a call was killed over while it wrote has a hidden name and is none: whoever has no note has no lock.
    """
    found: dict[Path, Caller | None] = {}
    for path in sorted(callers.glob("[!.]*.json")):
        found[path] = None
        with contextlib.suppress(DataError, TypeError):
            found[path] = Caller(**read_object(path))
    return found


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two calls that start at once look one after the other; where a file system has no such locks, side by side."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle)
        yield
    finally:
        os.close(handle)
