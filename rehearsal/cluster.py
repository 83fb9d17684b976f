"""A throw-away Slurm on this machine: munged, slurmctld and slurmd with everything under one folder.

One node with as many processors as asked for and up to four pretended GPUs, and no accounting database. It needs no
system-wide configuration and, apart from its ports, meets no other Slurm on the machine.
"""

import contextlib
import getpass
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SBIN = "/usr/sbin:/usr/local/sbin"
_COMMANDS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SBIN}")


def missing_programs() -> list[str]:
    """What a cluster needs and this machine lacks."""
    return [name for name in ("munged", "slurmctld", "slurmd", *_COMMANDS) if _program(name) is None]


@dataclass(frozen=True)
class Cluster:
    """A running cluster; with `commands` first on the PATH, sbatch and the like speak to it."""

    folder: Path

    @property
    def commands(self) -> Path:
        """The folder of its commands."""
        return self.folder / "bin"

    def run(self, command: str, *arguments: str, check: bool = True) -> str:
        """The output of a Slurm command."""
        line = [str(self.commands / command), *arguments]
        return subprocess.run(line, check=check, capture_output=True, text=True, timeout=60).stdout

    def logs(self) -> str:
        """The ends of the daemons' logs, for a failure's message."""
        paths = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in paths)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _write_commands(folder: Path) -> None:
    """Slurm's commands bound to this cluster: Snakemake clears SLURM_CONF, with all of SLURM_*, inside a job."""
    folder.mkdir()
    for name in _COMMANDS:
        script = folder / name
        script.write_text(f"#!/bin/sh\nexec env SLURM_CONF='{folder.parent}/slurm.conf' {_program(name)} \"$@\"\n")
        script.chmod(0o755)


def _write_configuration(folder: Path, cpus: int, memory_mb: int, gpus: int, hold_to_memory: bool) -> None:
    host = socket.gethostname().split(".")[0]
    controller, daemon = _free_ports(2)
    user = getpass.getuser()
    # Without cgroups the memory of a job's processes is looked at every second.
    memory = "JobAcctGatherType=jobacct_gather/none"
    if hold_to_memory:
        gather = {"Type": "jobacct_gather/linux", "Frequency": "task=1", "Params": "OverMemoryKill"}
        memory = "\n".join(f"JobAcctGather{name}={value}" for name, value in gather.items())
    (folder / "slurm.conf").write_text(
        f"""\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
{memory}
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
    )
    # A GPU is a device file to Slurm, and these are on every machine.
    files = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")[:gpus]
    (folder / "gres.conf").write_text("".join(f"NodeName={host} Name=gpu File={file}\n" for file in files))
    version = subprocess.run([_program("slurmd") or "slurmd", "-V"], capture_output=True, text=True).stdout
    release = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    # Containers seldom delegate a cgroup. Older releases do not know the word, and do not ask for one here either.
    (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n" if release >= (23, 11) else "")


@contextlib.contextmanager
def cluster(
    folder: Path, *, cpus: int = 2, memory_mb: int = 64_000, gpus: int = 1, hold_to_memory: bool = False
) -> Iterator[Cluster]:
    """Start a cluster under `folder` (an existing, empty folder), and stop it on leaving.

    Args:
        folder: where everything is.
        cpus: of its node.
        memory_mb: of its node, as Slurm is told.
        gpus: pretended ones, at most four.
        hold_to_memory: whether a job that takes more memory than it asked for is killed.

    Raises:
        RuntimeError: with the daemons' logs, if the node is not idle within 30 seconds.
    """
    folder.chmod(0o711)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    _write_configuration(folder, cpus, memory_mb, gpus, hold_to_memory)
    running = Cluster(folder)
    _write_commands(running.commands)
    munge_files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "seed", "pid", "log")]
    commands = [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge_files],
        ["slurmctld", "-D", "-i", "-f", f"{folder}/slurm.conf"],
        ["slurmd", "-D", "-f", f"{folder}/slurm.conf"],
    ]
    with contextlib.ExitStack() as stack:
        for name, *arguments in commands:
            output = stack.enter_context((folder / f"{name}.out.log").open("w"))
            process = subprocess.Popen([_program(name) or name, *arguments], stdout=output, stderr=output, cwd=folder)
            stack.callback(_stop, process)
            if name == "munged":
                _wait_for(lambda: (folder / "munge.socket").exists(), running, 10)
        _wait_for(lambda: "idle" in running.run("sinfo", "--noheader", "-o", "%T", check=False), running, 30)
        try:
            yield running
        finally:  # jobs outlive the daemons
            running.run("scancel", "--user", getpass.getuser(), check=False)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(condition, cluster: Cluster, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"Slurm did not start within {seconds} s\n{cluster.logs()}")
        time.sleep(0.2)
