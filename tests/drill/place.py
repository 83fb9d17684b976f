"""A finished checkout that may be harmed, and the commands that are run in it."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.jobs import needed_for
from dpmix.params.read import read

ROOT = Path(__file__).resolve().parents[2]
# What a call of the workflow reads of a checkout.
PARTS = ("dpmix", "workflow", "slurm", "params.yaml", "environment.yml", "dvc.yaml", ".dvc", ".dvcignore", ".gitignore")
MADE = ("data", "results", ".snakemake")
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Done:
    """How a call ended."""

    status: int
    output: str
    seconds: float


@dataclass
class Call:
    """A running command, in a session of its own."""

    process: subprocess.Popen[bytes]
    output: Path
    started: float = field(default_factory=time.monotonic)

    def running(self) -> bool:
        return self.process.poll() is None

    def family(self) -> list[psutil.Process]:
        """The process and all below it."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def jobs(self) -> list[psutil.Process]:
        """Those of the family that make an artefact or a table."""
        found = []
        for one in self.family():
            try:
                words = one.cmdline()
            except psutil.Error:
                continue
            if words[1:4] == ["-m", "dpmix", "step"]:
                found.append(one)
        return found

    def kill(self, some: Iterable[psutil.Process] | None = None, sign: int = signal.SIGKILL) -> None:
        """Send all of the family, or some, a signal."""
        for one in self.family() if some is None else some:
            try:
                one.send_signal(sign)
            except psutil.NoSuchProcess:
                continue

    def wait(self, seconds: float = 900) -> Done:
        """How it ends.

        Raises:
            TimeoutError: if it does not.
        """
        try:
            status = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
            raise TimeoutError(f"no end after {seconds:.0f} s") from None
        return Done(status, self.output.read_text(errors="replace"), time.monotonic() - self.started)


class Place:
    """A copy of a finished checkout."""

    def __init__(self, folder: Path, target: str, environment: Mapping[str, str], catalogue: Catalogue) -> None:
        self.folder, self.target, self.catalogue = folder, target, catalogue
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        inherited["PATH"] = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        # The code of this copy, also where another checkout is installed; packages may lie where the tests found them.
        inherited["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.environment = inherited | dict(environment)
        self._calls = 0

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.catalogue.scale

    def start(
        self, command: str, *, prefix: Iterable[str] = (), without: Iterable[str] = (), mask: int = -1, **variables: str
    ) -> Call:
        """Start a command as it stands in the README.

        Args:
            command: the words, as for a shell.
            prefix: a program that runs it, with its own arguments.
            without: environment variables that it is not to have.
            mask: its umask; negative for this process's.
            variables: environment variables that it is to have.
        """
        self._calls += 1
        output = self.folder.parent / f"{self.folder.name}-{self._calls}.out"
        environment = {name: value for name, value in self.environment.items() if name not in set(without)} | variables
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*prefix, *shlex.split(command)], cwd=self.folder, env=environment, umask=mask, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return Call(process, output)

    def run(self, command: str, **how) -> Done:
        """Run a command to its end."""
        return self.start(command, **how).wait()

    def made_for_target(self, kind: str | None = None) -> list[Path]:
        """The artefacts that the target is made from; of one kind, if it is named."""
        artefacts = self.catalogue.artefacts
        paths = sorted(needed_for(self.catalogue, [self.target]) & artefacts.keys())
        return [self.folder / path for path in paths if kind in (None, type(artefacts[path]).__name__)]

    def kinds(self) -> list[str]:
        """Names of the kinds of artefacts that the target is made from, in their own order."""
        artefacts = self.catalogue.artefacts
        needed = needed_for(self.catalogue, [self.target])
        return list(dict.fromkeys(type(one).__name__ for path, one in artefacts.items() if path in needed))

    def table_files(self) -> list[Path]:
        return sorted((self.results / "tables").glob(f"{self.target}.*"))

    def remove_table(self) -> None:
        """Delete the target, as if it had not been made."""
        for path in (*self.table_files(), *(self.results / "stamps").glob(f"{self.target}-*")):
            path.unlink()

    def remove_runs(self, random: Random, share: float) -> None:
        """Delete the target, and of its runs that are there some, at least one."""
        runs = [path for path in self.made_for_target("Experiment") if path.exists()]
        for path in random.sample(runs, min(len(runs), max(1, round(share * len(runs))))):
            shutil.rmtree(path.parent)
        self.remove_table()


def _copy(source: Path, target: Path, names: Iterable[str]) -> None:
    for name in names:
        if (source / name).is_dir():
            subprocess.run(["cp", "-pR", str(source / name), str(target / name)], check=True)
        elif (source / name).exists():
            shutil.copy2(source / name, target / name)


class World:
    """A finished checkout, and what its tables hold; each case gets a copy.

    Args:
        name: what it is called in the figures.
        folder: where it lies.
        target: the table that cases make again.
        environment: what commands in it have in their environment, beside what this process has.
    """

    def __init__(self, name: str, folder: Path, target: str, environment: Mapping[str, str] | None = None) -> None:
        self.name, self.folder, self.target, self.environment = name, folder, target, dict(environment or {})
        self._catalogue = Catalogue(read(folder / "params.yaml"))

    def place(self) -> Place:
        """The finished checkout itself, which no case may touch."""
        return Place(self.folder, self.target, self.environment, self._catalogue)

    @contextmanager
    def fresh(self) -> Iterator[Place]:
        """A copy, which goes in the end."""
        with tempfile.TemporaryDirectory(prefix="drill-", ignore_cleanup_errors=True) as scratch:
            Path(scratch).chmod(0o755)
            target = Path(scratch) / "checkout"
            target.mkdir()
            _copy(self.folder, target, (*PARTS, *MADE, ".git"))
            yield Place(target, self.target, self.environment, self._catalogue)


def new_world(
    name: str, folder: Path, target: str, *, params: str | None = None, finished: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> World:  # fmt: skip
    """A finished checkout of this code in an empty folder.

    Args:
        name: what it is called in the figures.
        folder: where to put it.
        target: the table that cases make again.
        params: `params.yaml`, by default the project's own.
        finished: a checkout whose data and results are taken over.
        environment: as `World` has it.

    Raises:
        RuntimeError: if the target cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _copy(ROOT, folder, PARTS)
    # What DVC keeps for itself is as large as what it keeps.
    for kept in ("tmp", "cache", "config.local"):
        path = folder / ".dvc" / kept
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    # DVC works in a git repository.
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    if params is not None:
        (folder / "params.yaml").write_text(params, encoding="utf-8")
    if finished is not None:
        _copy(finished, folder, MADE)
    world = World(name, folder, target, environment)
    place = world.place()
    # Runs say what they were made by: those that are compared with later ones are made by this code, too.
    place.remove_runs(Random(0), 1.0)
    done = place.run(f"snakemake --cores all {target}")
    if done.status:
        raise RuntimeError(f"{target} cannot be made before any harm is done:\n{done.output}")
    return world
