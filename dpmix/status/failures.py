"""Jobs that failed: the files that they were to make, the last line that they said, and the log that has it.

There are two sources. Snakemake's own logs name each job that ended with an error, unless `--quiet rules` silences
them. The log of a job ends in its error message, if it had time to say one.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dpmix.status.records import Call

# What a log's end is read of.
_TAIL = 8192
_SILENT = "it ended without a message; it was killed, or memory ran out"


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes:
        outputs: the files that it was to make.
        line: its last error message.
        log: where that stands; None if nothing was written.
    """

    outputs: tuple[str, ...]
    line: str
    log: Path | None


def reported(root: Path, calls: list[Call]) -> list[Failure]:
    """What Snakemake's logs say of jobs that failed, the last one last."""
    found = []
    for call in calls:
        for block in re.finditer(r"^( *)Error in rule \S+:\n((?:\1 {4}.*\n)*)", call.text, flags=re.MULTILINE):
            outputs = _listed(block[2], "output")
            logs = [
                root / name for name in _listed(block[2].replace(" (check log file(s) for error details)", ""), "log")
            ]
            said = [(line, log) for log in logs if (line := last_error(log)) is not None]
            line, log = said[0] if said else (_SILENT, next((one for one in logs if one.is_file()), call.log))
            found.append(Failure(tuple(outputs), line, log))
    return found


def _listed(block: str, key: str) -> list[str]:
    found = re.search(rf"^ *{key}: (.*)$", block, flags=re.MULTILINE)
    return found[1].split(", ") if found else []


def logged(root: Path, outputs: Callable[[], Mapping[str, tuple[str, ...]]]) -> list[Failure]:
    """Jobs whose own logs end in an error, the last one last.

    Args:
        root: the folder in which Snakemake runs.
        outputs: gives the files of jobs by the names, without their ending, that the jobs' logs may have; it is asked
            only if a log ends in an error.
    """
    ended = [(log, line) for log in (root / "logs").glob("*/*.log") if (line := last_error(log)) is not None]
    of = outputs() if ended else {}
    found = [(log.stat().st_mtime, str(log), Failure(of[log.stem], line, log)) for log, line in ended if log.stem in of]
    return [failure for _, _, failure in sorted(found, key=lambda one: one[:2])]


def last_error(log: Path) -> str | None:
    """The last error message of a log; None if it has none.

    That is the last line that begins with `error:`, as this program's messages do; else the last line of Python's
    account of an error; else what Slurm says of a job that it ended.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    for wanted in (r"error: ", r"[\w.]*(Error|Exception)\b.*|KeyboardInterrupt", r"(slurmstepd|srun): error: "):
        for line in reversed(lines):
            if re.match(wanted, line):
                return line
    return None
