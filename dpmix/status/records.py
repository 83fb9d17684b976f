"""What Snakemake writes under `.snakemake/`: its calls, the jobs that it started, and how long finished ones took.

Where that folder is gone, or results came from elsewhere, results tell themselves how long they took.
"""

import base64
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dpmix.errors import DataError, DpmixError
from dpmix.files import read_object
from dpmix.seals import read_record

# Files of one job are marked one after the other, within this many seconds.
_ONE_START = 5.0


@dataclass(frozen=True)
class Call:
    """One call of Snakemake, as its log shows it.

    Attributes:
        log: the log's path.
        text: its content.
    """

    log: Path
    text: str

    @property
    def command(self) -> str | None:
        """What was typed, as `snakemake --cores 2 table9`; None where `--quiet host` kept it out of the log."""
        found = re.search(r"^  Command: (\S+)(.*)$", self.text, flags=re.MULTILINE)
        return f"snakemake{found[2]}" if found else None

    @property
    def rules(self) -> list[str]:
        """The names of the rules of which it was to run jobs."""
        table = re.search(r"^job +count\n-+ +-+\n((?:.+\n)*?)total +\d+$", self.text, flags=re.MULTILINE)
        return [line.split()[0] for line in table[1].splitlines()] if table else []


def calls(root: Path, scale: str) -> list[Call]:
    """The calls that were made in the folder `root` for this scale, the last one last.

    Jobs that Snakemake submits are calls of their own; these are left out.
    """
    found = []
    for log in sorted((root / ".snakemake" / "log").glob("*.snakemake.log")):
        call = Call(log, log.read_text(encoding="utf-8", errors="replace"))
        if f"results/{scale}/" in call.text and "--target-jobs" not in (call.command or ""):
            found.append(call)
    return found


def started(root: Path) -> set[str]:
    """The files of all jobs that were started and have neither ended nor failed: running, or broken off."""
    return {path for path, _ in _records(root / ".snakemake" / "incomplete")}


def is_running(root: Path) -> bool:
    """Whether a process on this machine runs Snakemake in the folder `root`."""
    here = os.stat(root)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            there = os.stat(process / "cwd")
        except OSError:  # it has ended, or is someone else's
            continue
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) and any(map(_is_snakemake, words[:3])):
            return True
    return False


def _is_snakemake(word: bytes) -> bool:
    return word == b"snakemake" or word.endswith((b"/snakemake", b"snakemake/__main__.py"))


def is_locked(root: Path) -> bool:
    """Whether a call runs here, on this machine or another one, or was killed and has left its lock."""
    return any((root / ".snakemake" / "locks").glob("*.lock"))


@dataclass(frozen=True)
class Took:
    """A finished job: its files, and when it was started and wrote the last of them, in seconds since 1970."""

    paths: tuple[str, ...]
    start: float
    end: float


def took(root: Path, paths: Collection[str]) -> list[Took]:
    """The finished jobs that made these files, as far as Snakemake's records go.

    Args:
        root: the folder in which Snakemake runs.
        paths: of files, relative to it.
    """
    by_rule: dict[str, list[tuple[float, float, str]]] = {}
    for path, record in _records(root / ".snakemake" / "metadata", paths):
        start, end = record.get("starttime"), record.get("endtime")
        if isinstance(start, int | float) and isinstance(end, int | float) and end >= start:
            by_rule.setdefault(str(record.get("rule")), []).append((start, end, path))
    found = []
    for files in by_rule.values():
        group: list[tuple[float, float, str]] = []
        for one in [*sorted(files), (float("inf"), 0.0, "")]:
            if group and one[0] - group[-1][0] > _ONE_START:
                found.append(Took(tuple(path for _, _, path in group), group[0][0], max(end for _, end, _ in group)))
                group = []
            group.append(one)
    return found


def told(root: Path, paths: Collection[str]) -> list[Took]:
    """The same by what results say of themselves, where Snakemake has left no records: one job for each file.

    Files of one job ran at the same time, and say so: each has the whole time of what they share.

    Args:
        root: the folder in which Snakemake ran.
        paths: of records of runs, relative to it; those that are damaged, or tell no times, are left out.
    """
    found = []
    for path in paths:
        try:
            times = read_record(root / path)["times"]
            end = datetime.fromisoformat(times["finished"]).timestamp()
            found.append(Took((path,), end - float(times["seconds"]), end))
        except (DpmixError, LookupError, TypeError, ValueError):  # damaged, or just taken away
            continue
    return found


def _records(folder: Path, paths: Collection[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each file that a folder of Snakemake's holds a record of, or each of these, with the record."""
    for path, _, names in os.walk(folder):
        for name in names:
            file = Path(path, name)
            # The name is the path in base64, cut into folders called @... where a file system allows no longer names.
            code = "".join(part.removeprefix("@") for part in file.relative_to(folder).parts)
            try:
                target = base64.urlsafe_b64decode(code).decode()
                if paths is None or target in paths:
                    yield target, read_object(file)
            except (ValueError, DataError):  # torn, or just taken away
                continue
