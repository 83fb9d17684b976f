"""How many of a scale's runs are done, running, failed and missing, by table, and how long the rest will take."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue import stamps
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.jobs import SEVERAL, jobs, needed_for
from dpmix.status.failures import Failure, logged, reported
from dpmix.status.records import Call, Took, calls, is_locked, is_running, started, told, took

# What makes all of a scale, as docs/use.md has it.
EVERYTHING = ("all_tables", "all_figures", "report")


@dataclass(frozen=True)
class Row:
    """A table or figure, or what several share.

    Attributes:
        name: the target, such as "table9".
        done: how many of its files are on disk; so on for those that are running, failed and missing.
        shown: whether its own files are those of these params, of other params, or not there; empty if it has none.
    """

    name: str
    done: int
    running: int
    failed: int
    missing: int
    shown: Literal["made", "outdated", "none", ""] = ""

    @property
    def count(self) -> int:
        """How many files there are in all."""
        return self.done + self.running + self.failed + self.missing


@dataclass
class Paths:
    """The paths of all artefacts, by what has become of them."""

    done: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def row(self, name: str, paths: Iterable[str], shown: Literal["made", "outdated", "none", ""] = "") -> Row:
        """How many of some paths are in each state."""
        wanted = set(paths)
        done, running, failed = (len(wanted & some) for some in (self.done, self.running, self.failed))
        return Row(name, done, running, failed, len(wanted) - done - running - failed, shown)


@dataclass(frozen=True)
class Standing:
    """How far a scale is.

    Attributes:
        rows: one for each table and figure: the runs and measurements that it shows.
        prepared: what these are made from: data, encoders, D, plans, learning rates.
        together: all of the above, each counted once.
        failures: the jobs that failed and whose files are still missing, the last one last.
        process: whether Snakemake runs here, may be running or was killed ("locked"), or neither.
        goes_on: the command that makes the rest; None if nothing is left.
        seconds_left: how long the jobs that are left will take, if as many run at once as before; None if no job of
            their kinds has finished.
        unknown: how many missing files are of kinds of which none has finished, and not in that time.
        paths: which files are done, running and failed.
    """

    rows: list[Row]
    prepared: Row
    together: Row
    failures: list[Failure]
    process: Literal["running", "locked", "none"]
    goes_on: str | None
    seconds_left: float | None
    unknown: int
    paths: Paths = field(default_factory=Paths)


def standing(catalogue: Catalogue, root: Path = Path(), params: str | None = None) -> Standing:
    """Look at what a scale's calls have left on disk. Nothing is changed.

    Results are opened only where Snakemake has left no record of how long its jobs took.

    Args:
        catalogue: the scale.
        root: the folder in which Snakemake runs.
        params: the params file, if it is not `params.yaml`; for the command that goes on.
    """
    done = {path for path in catalogue.artefacts if (root / path).exists()}
    live = is_running(root)
    running = started(root) - done if live else set[str]()
    history = calls(root, catalogue.scale)
    left = set(catalogue.artefacts) - done - running
    # Both sources know most jobs, and a job may have failed in several calls: the last account is the one to heed.
    failures: dict[tuple[str, ...], Failure] = {}
    for failure in [*logged(root, lambda: _by_log(catalogue, history)), *reported(root, history)]:
        if outputs := tuple(path for path in failure.outputs if path in left):
            failures.pop(outputs, None)
            failures[outputs] = replace(failure, outputs=outputs)
    sort = Paths(done, running, {path for outputs in failures for path in outputs})
    rows = [
        sort.row(target, map(catalogue.path, artefacts), _shown(catalogue, target, root))
        for target, artefacts in catalogue.targets.items()
    ]
    shown = {catalogue.path(artefact) for artefacts in catalogue.targets.values() for artefact in artefacts}
    runs = [path for path in done if isinstance(catalogue.artefacts[path], Experiment)]
    seconds, unknown = _time_left(catalogue, took(root, done) or told(root, runs), set(catalogue.artefacts) - done)
    return Standing(
        rows,
        sort.row("prepared", catalogue.artefacts.keys() - shown),
        sort.row("together", catalogue.artefacts),
        list(failures.values()),
        "running" if live else "locked" if is_locked(root) else "none",
        _goes_on(catalogue, rows, history, params),
        seconds,
        unknown,
        sort,
    )


def _shown(catalogue: Catalogue, target: str, root: Path) -> Literal["made", "outdated", "none"]:
    if not all((root / path).exists() for path in stamps.files_of(catalogue, target)):
        return "none"
    return "made" if stamps.fits(catalogue, target, root) else "outdated"


def _by_log(catalogue: Catalogue, history: list[Call]) -> dict[str, tuple[str, ...]]:
    """The files of jobs by the names of their logs: that of one artefact by its folder, those of several by the job."""
    found: dict[str, tuple[str, ...]] = {}
    for path in catalogue.artefacts:
        if path.startswith("data/"):
            folder = Path(path).parent.name
            found[folder] = found[f"{folder}-{Path(path).name}"] = (path,)
    kinds: list[type[Artefact]] = list({type(artefact): None for artefact in catalogue.artefacts.values()})
    # A job's name depends on all that a call asked for.
    for words in {(), *(tuple(_targets(catalogue, call)) for call in history)}:
        for job in jobs(catalogue, *kinds, needed=needed_for(catalogue, words), missing_only=False):
            found[job.name] = job.paths
    return found


def _targets(catalogue: Catalogue, call: Call) -> list[str]:
    """The targets that a call was asked for, without those that it made for the sake of others."""
    words = [rule for rule in call.rules if rule in (*catalogue.targets, *SEVERAL)]
    if "all" in words:
        return ["all"]
    several = [word for word in SEVERAL if word in words]
    if "report" in several:
        return several
    return several + [word for word in words if word not in several and not _within(word, several)]


def _within(target: str, several: list[str]) -> bool:
    return any(target.startswith(one.removeprefix("all_").removesuffix("s")) for one in several)


def _goes_on(catalogue: Catalogue, rows: list[Row], history: list[Call], params: str | None) -> str | None:
    """The last call again, if it left anything undone; else one for all that is missing."""
    unmade = [row.name for row in rows if row.shown != "made"]
    if not unmade:
        return None
    if history:
        words = _targets(catalogue, history[-1])
        asked = needed_for(catalogue, words)
        if any(row.name in words or set(words) & set(SEVERAL) for row in rows if row.name in unmade) and asked:
            return history[-1].command or command(catalogue, words, params)
    return command(catalogue, unmade if len(unmade) < len(rows) else ["all"], params)


def command(catalogue: Catalogue, words: Sequence[str], params: str | None = None) -> str:
    """What to type to make these targets of a scale.

    Args:
        catalogue: the scale.
        words: targets or paths of artefacts.
        params: the params file, if it is not `params.yaml`.
    """
    words = EVERYTHING if list(words) == ["all"] else words  # as the README's commands do, and not "--cores all all"
    parts = ["snakemake", "--cores", "all"]
    if params is not None:
        parts += ["--configfile", shlex.quote(params)]
    if catalogue.scale != catalogue.params.scale:
        parts += ["--config", f"scale={catalogue.scale}"]
    return " ".join([*parts, "--", *words] if len(parts) > 3 else [*parts, *words])


def _time_left(catalogue: Catalogue, jobs_done: list[Took], missing: set[str]) -> tuple[float | None, int]:
    """Seconds for the missing files, by the mean of finished ones of the same work and model, or else the same work.

    As many jobs are taken to run at once as did so far: the jobs' times by the time in which any of them ran.
    """
    spent: dict[tuple[str, str], list[float]] = {}
    for job in jobs_done:
        share = catalogue.artefacts[job.paths[0]].job_share()
        for key in ((share.work, share.model), (share.work, "")):
            total = spent.setdefault(key, [0.0, 0])
            total[0] += job.end - job.start
            total[1] += len(job.paths)
    seconds, unknown = 0.0, 0
    for path in missing:
        share = catalogue.artefacts[path].job_share()
        total = spent.get((share.work, share.model)) or spent.get((share.work, ""), [0.0, 0])
        if total[1]:
            seconds += total[0] / total[1]
        else:
            unknown += 1
    if unknown == len(missing):
        return (None if missing else 0.0), unknown
    return seconds / _at_once(jobs_done), unknown


def _at_once(jobs_done: list[Took]) -> float:
    """How many jobs ran at the same time, on average over the time in which any ran; at least one."""
    busy, until = 0.0, float("-inf")
    for job in sorted(jobs_done, key=lambda one: one.start):
        busy += max(0.0, job.end - max(until, job.start))
        until = max(until, job.end)
    return max(1.0, sum(job.end - job.start for job in jobs_done) / busy) if busy else 1.0
