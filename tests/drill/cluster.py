"""Slurm: the submitting process is killed, a job is cancelled, killed or put back into the queue.

On the throw-away cluster of `rehearsal`, which keeps no accounts; what docs/cluster.md says of such a site is added
to the profile.
"""

import os
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
_PATIENCE = 300
# This site keeps no accounts, and one small machine needs no waiting for.
_SITE = {
    "slurm-no-account": "true",
    "slurm-status-command": "squeue",
    "slurm-init-seconds-before-status-checks": "2",
    "seconds-between-status-checks": "2",
    "latency-wait": "10",
}


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """A cluster, and the environment that speaks to it."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, cluster(Path(folder)) as slurm:
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


def struck(strike: Callable[[Cluster, Call, str], None]) -> Harm:
    """A harm: a run is to be made by a job of Slurm, to which something happens at a random moment after it began."""

    def harm(place: Place, random: Random) -> Done | None:
        slurm = Cluster(Path(place.environment[_FOLDER]))
        slurm.run("scancel", "--user", str(os.geteuid()), check=False)
        profile = place.folder / "slurm" / "config.yaml"
        kept = [line for line in profile.read_text().splitlines() if line.partition(":")[0] not in _SITE]
        profile.write_text("\n".join([*kept, *(f"{name}: {value}" for name, value in _SITE.items()), ""]))
        place.remove_runs(random, 0.0)
        call = place.start(Case("", "", harm, CLUSTER).spelled(place))
        while call.running() and not (jobs := slurm.run("squeue", "--noheader", "--states=R", "-o", "%A").split()):
            time.sleep(0.2)
        time.sleep(random.uniform(0, 15))
        if not call.running() or not slurm.run("squeue", "--noheader", "--states=R", "-o", "%A").split():
            call.wait(_PATIENCE)
            raise Missed
        strike(slurm, call, jobs[0])
        if strike is _submitter:
            call.process.wait()
            return None
        return call.wait(_PATIENCE)

    return harm


STRIKES = {
    "the submitting process is killed": _submitter,
    "the job is cancelled": _cancelled,
    "the job's processes are killed": _killed,
    "the job is put back into the queue": _requeued,
}
TIMES = {_submitter: 4, _killed: 2}

CASES = [
    Case("SIGKILL, Slurm" if strike in TIMES else "Slurm", name, struck(strike), CLUSTER, TIMES.get(strike, 1), running)
    for name, strike in STRIKES.items()
]
