"""What a job of Slurm asks for when it is tried again: more of what it ran out of, and of nothing else.

Snakemake counts attempts, whatever ended them. Here each failed attempt is looked at: what Slurm wrote at the end of
its log, or else its state, by `sacct` or, where a site keeps no accounts, by `squeue`, which has it for some minutes.
So `runtime: 720 * attempt` counts the attempts that ran out of time, and `mem_mb: 32000 * attempt` those that ran out
of memory. One that was cancelled, lost its node or ended in an error asks for the same again. No retry asks for more
than its partition has; limits of accounts and of qualities of service are not looked at.
"""

import functools
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpmix.progress import say

TIME, MEMORY = "runtime", "mem_mb"
"""The resources that grow: minutes, and megabytes for each node."""

_SPOKEN = {TIME: ("time", "minutes"), MEMORY: ("memory", "MB")}
_STATES = {"TIMEOUT": TIME, "OUT_OF_MEMORY": MEMORY}
_LAST_WORDS = {
    TIME: re.compile(r"DUE TO TIME LIMIT"),
    MEMORY: re.compile(r"oom[_-]kill event|OOM Killed|[Ee]xceeded (?:job |step )?memory limit"),
}
_TAIL = 20_000  # bytes of a log
_PATIENCE = 20  # seconds that a command of Slurm may take


@dataclass(frozen=True)
class Ended:
    """How an attempt ended.

    Attributes:
        of: the resource that it ran out of; None for any other end.
        partition: where it ran; None if Slurm does not know the job any more.
    """

    of: str | None
    partition: str | None


def resources(workflow: Any) -> dict[str, Callable[..., Any]]:
    """The resources `runtime` and `mem_mb` of a rule whose jobs may be tried again, as far as the call has defaults.

    Args:
        workflow: Snakemake's `Workflow`, as a Snakefile knows it.

    Returns:
        Functions for `resources:`. The values are those of `default-resources`, of the profile or the command line,
        with `attempt` counted for each by itself. Empty for the Snakemake within a job, which asks for nothing.
    """
    if not workflow.is_main_process:
        return {}
    defaults = workflow.resource_settings.default_resources or {}
    return {name: _grown(workflow, name, defaults[name]) for name in (TIME, MEMORY) if name in defaults}


def _grown(workflow: Any, name: str, default: Any) -> Callable[..., Any]:
    def grown(wildcards: Any, input: Any, attempt: int, threads: int, rulename: str) -> Any:
        def value(count: int) -> Any:
            known = {"input": input, "threads": threads, "rulename": rulename, "async_run": workflow.async_run}
            return default.evaluate(wildcards, attempt=count, **known).value

        settings: Any = getattr(workflow, "executor_settings", None)
        if attempt == 1 or not hasattr(settings, "logdir"):  # no retry, or not on Slurm
            return value(attempt)
        logs = Path(workflow.workdir_init, settings.logdir or ".snakemake/slurm_logs", f"rule_{rulename}")
        logs /= "_".join(map(str, wildcards)).replace("/", "_")
        ends = failed(logs, attempt - 1)
        wanted = value(1 + sum(end.of == name for end in ends))
        chosen = bool(settings.partition_config or os.environ.get("SNAKEMAKE_SLURM_PARTITIONS"))
        most = limit(name, None if chosen else next((end.partition for end in ends if end.partition), None), chosen)
        if most is None or not isinstance(wanted, int) or wanted <= max(most, value(1)):
            return wanted
        least = max(most, value(1))
        if ends[0].of == name:
            _say_full(rulename, name, least)
        return least

    return grown


def failed(logs: Path, count: int) -> list[Ended]:
    """How the last attempts of a job ended, the last one first.

    Args:
        logs: the folder of its logs, each named by the number of its job.
        count: how many attempts.
    """
    numbers = sorted((int(path.stem) for path in logs.glob("*.log") if path.stem.isdecimal()), reverse=True)
    return [_ended(logs / f"{number}.log") for number in numbers[:count]]


@functools.cache
def _ended(log: Path) -> Ended:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        words = file.read().decode(errors="replace")
    of = next((name for name, pattern in _LAST_WORDS.items() if pattern.search(words)), None)
    asked = (
        ["sacct", "--noheader", "--allocations", "--parsable2", "--format=State,Partition", f"--jobs={log.stem}"],
        ["squeue", "--noheader", "--states=all", "--format=%T|%P", f"--jobs={log.stem}"],
    )
    said = next((found for command in asked if (found := _asked(command))), [])
    state, _, partition = said[0].partition("|") if said else ("", "", "")
    return Ended(of or _STATES.get(state.strip()), partition.strip().split(",")[0] or None)


def limit(name: str, partition: str | None, any_partition: bool = False) -> int | None:
    """The most minutes, or megabytes of a node, that a partition gives; None if it is not known or has no limit.

    Args:
        name: `runtime` or `mem_mb`.
        partition: its name.
        any_partition: take the largest of all partitions, for jobs that move to one which fits them.
    """
    if partition is None and not any_partition:
        return None
    where = [] if partition is None else [f"--partition={partition}"]
    said = _asked(["sinfo", "--noheader", "--exact", f"--format={'%l' if name == TIME else '%m'}", *where])
    found = [_minutes(line) if name == TIME else _number(line) for line in said]
    return max((one for one in found if one is not None), default=None) if None not in found else None


def _number(text: str) -> int | None:
    digits = re.match(r"\d+", text)
    return int(digits[0]) if digits else None


def _minutes(text: str) -> int | None:
    """Minutes of Slurm's `days-hours:minutes:seconds`; None for `infinite`.

    >>> _minutes("2-00:00:00"), _minutes("12:30:00"), _minutes("30:00"), _minutes("infinite")
    (2880, 750, 30, None)
    """
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not found:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return (days * 24 + hours) * 60 + minutes


@functools.cache
def _say_full(rule: str, name: str, most: int) -> None:
    what, unit = _SPOKEN[name]
    rest = (
        "it goes on from its checkpoint in as much again"
        if name == TIME
        else "name a partition with more (slurm_partition), or lower the batch in params.yaml"
    )
    say(f"note: {rule} ran out of {what}, and {most} {unit} is all that its partition gives: {rest}")


def _asked(command: list[str]) -> list[str]:
    """The lines that a command of Slurm says; none where it is missing, fails or does not answer."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in run.stdout.splitlines() if line.strip()] if run.returncode == 0 else []
