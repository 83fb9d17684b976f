"""What real calls of Snakemake leave of tables of few runs: finished, failed, and killed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dpmix.catalogue import stamps
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import read
from dpmix.status.records import started
from dpmix.status.standing import Standing, standing
from tests.workflow.test_workflow import REDUCED, Clone, environment, new_clone


def standing_of(clone: Clone) -> Standing:
    """As `dpmix status` finds it in a clone."""
    catalogue: Catalogue = clone.catalogue()
    return standing(catalogue, clone.folder)


def copied(clone: Clone, folder: Path) -> Clone:
    shutil.copytree(clone.folder, folder, symlinks=True)
    return Clone(folder, clone.repository)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Clone:
    """Table 12 made, of two runs; Table 2, which shows them and two more, is not."""
    clone = new_clone(tmp_path_factory.mktemp("status") / "finished", repository, REDUCED)
    clone("table12")
    return clone


@pytest.fixture(scope="session")
def failed(finished: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The images are damaged, so that the jobs of Table 2's other two runs fail."""
    clone = copied(finished, tmp_path_factory.mktemp("status") / "failed")
    (images,) = clone.folder.glob("data/images/*/train_images.npy")
    images.write_bytes(b"")
    clone("--keep-going", "table2", fails=True)
    return clone


@pytest.fixture(scope="session")
def killed(finished: Clone, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, Standing]:
    """Killed while one of Table 2's other two runs was trained; with what was found just before."""
    clone = copied(finished, tmp_path_factory.mktemp("status") / "killed")
    call = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", "table2"],
        cwd=clone.folder, env=environment(clone.repository), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while call.poll() is None and not any("/runs/" in path for path in started(clone.folder)):
            time.sleep(0.02)
        found = standing_of(clone)
    finally:
        os.killpg(call.pid, signal.SIGKILL)
        call.wait()
        # Its jobs end a moment later.
        with contextlib.suppress(ProcessLookupError):
            for _ in range(1000):
                os.killpg(call.pid, 0)
                time.sleep(0.01)
    return clone, found


def lay(folder: Path, repository: Path, *targets: str) -> Catalogue:
    """Files where calls for these targets leave them, at no cost: with their own paths for content."""
    shutil.copytree(repository / "workflow", folder / "workflow")
    for name in ("requirements.lock", "environment.yml", "CITATION.cff", "LICENSE", "README.md"):
        shutil.copy(repository / name, folder)
    (folder / "params.yaml").write_text(REDUCED, encoding="utf-8")
    catalogue = Catalogue(read(folder / "params.yaml"))
    for target in targets:
        paths = catalogue.with_inputs(map(catalogue.path, catalogue.targets[target]))
        paths |= set(stamps.files_of(catalogue, target))
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(path, encoding="utf-8")
        stamps.write(catalogue, target, folder)
    return catalogue
