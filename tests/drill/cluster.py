"""Slurm: the submitting process is killed; a job is cancelled, killed, put back, or runs out of time or of memory.

On the throw-away cluster of `rehearsal`, which keeps no accounts, and whose node looks at the memory of each job. A
call makes one run, in some seconds.
"""

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from rehearsal.cluster import Cluster, cluster, missing_programs

from .case import CLUSTER, Case, Harm, Missed
from .place import BIN, Call, Done, Place

_FOLDER = "DRILL_CLUSTER"
_PATIENCE = 600
# Within so many seconds of its start a job is struck; it takes longer to import what it needs.
_SOON = 4.0
# One small machine needs no waiting for.
_SITE = {
    "slurm-init-seconds-before-status-checks": "2",
    "seconds-between-status-checks": "2",
    "latency-wait": "10",
}


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """A cluster, and the environment that speaks to it."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, cluster(Path(folder), hold_to_memory=True) as slurm:
        path = os.pathsep.join([str(slurm.commands), str(BIN), os.environ.get("PATH", os.defpath)])
        yield {"PATH": path, _FOLDER: folder}


def can_run() -> bool:
    """Whether this machine has what a cluster needs."""
    return not missing_programs()


def _submitter(slurm: Cluster, call: Call, job: str) -> None:
    call.kill()


def _cancelled(slurm: Cluster, call: Call, job: str) -> None:
    slurm.run("scancel", job)


def _killed(slurm: Cluster, call: Call, job: str) -> None:
    slurm.run("scancel", "--signal=KILL", "--full", job)


def _requeued(slurm: Cluster, call: Call, job: str) -> None:
    slurm.run("scontrol", "requeue", job)


def _hangs(slurm: Cluster, call: Call, job: str) -> None:
    # A minute is the least that Slurm knows, and longer than the run would take.
    slurm.run("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    slurm.run("scancel", "--signal=STOP", "--full", job)


def _begun(place: Place, random: Random, **profile: str) -> tuple[Cluster, Call]:
    """A call that is to make a run by a job, with these values in the profile."""
    slurm = Cluster(Path(place.environment[_FOLDER]))
    slurm.run("scancel", "--user", str(os.geteuid()), check=False)
    path = place.folder / "slurm" / "config.yaml"
    kept = [line for line in path.read_text().splitlines() if line.partition(":")[0] not in _SITE]
    text = "\n".join([*kept, *(f"{name}: {value}" for name, value in _SITE.items()), ""])
    for name, value in profile.items():
        text = re.sub(rf"^  {name}: .*$", f"  {name}: {value}", text, flags=re.MULTILINE)
    path.write_text(text)
    place.remove_runs(random, 0.0)
    return slurm, place.start(Case("", "", short_of_memory, CLUSTER).spelled(place))


def struck(strike: Callable[[Cluster, Call, str], None], state: str = "") -> Harm:
    """A harm: a run is to be made by a job of Slurm, to which something happens at a random moment after it began.

    Args:
        strike: what happens.
        state: what Slurm must say of the job afterwards for the harm to have been done; empty if that does not matter.
    """

    def harm(place: Place, random: Random) -> Done | None:
        slurm, call = _begun(place, random)
        while call.running() and not (jobs := slurm.run("squeue", "--noheader", "--states=R", "-o", "%A").split()):
            time.sleep(0.2)
        time.sleep(random.uniform(0, _SOON))
        if not call.running() or not slurm.run("squeue", "--noheader", "--states=R", "-o", "%A").split():
            call.wait(_PATIENCE)
            raise Missed
        strike(slurm, call, jobs[0])
        if strike is _submitter:
            call.process.wait()
            return None
        done = call.wait(_PATIENCE)
        if state and jobs[0] not in slurm.run("squeue", "--noheader", f"--states={state}", "-o", "%A").split():
            raise Missed
        return done

    return harm


def short_of_memory(place: Place, random: Random) -> Done:
    """A harm: the job of a run is killed for its memory, and tried again with more.

    Raises:
        Missed: if it had enough.
    """
    _, call = _begun(place, random, mem_mb="100 * 40 ** (attempt - 1)")
    done = call.wait(_PATIENCE)
    logs = (place.folder / "logs" / "slurm").rglob("*.log")
    if not any("xceeded memory limit" in path.read_text(errors="replace") for path in logs):
        raise Missed
    return done


STRIKES = {
    "the submitting process is killed": _submitter,
    "the job is cancelled": _cancelled,
    "the job's processes are killed": _killed,
    "the job is put back into the queue": _requeued,
}
TIMES = {_submitter: 4, _killed: 2}

CASES = [
    *(
        Case(
            "SIGKILL, Slurm" if strike in TIMES else "Slurm", name, struck(strike), CLUSTER, TIMES.get(strike, 1),
            running, small=True,
        )
        for name, strike in STRIKES.items()
    ),
    Case(
        "Slurm", "the job runs out of time", struck(_hangs, "TIMEOUT"), CLUSTER, around=running, small=True
    ),
    Case("Slurm", "the job runs out of memory", short_of_memory, CLUSTER, around=running, small=True),
]  # fmt: skip
