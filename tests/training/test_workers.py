"""The same run on several processes: the sample is split, sums are added up, noise is added once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dpmix.experiment import Experiment
from dpmix.files import read_json
from dpmix.training.runner import Execution, make
from dpmix.training.workers import ALONE, Workers
from tests.training.conftest import World

pytestmark = pytest.mark.filterwarnings("ignore")

CHILD = """
import json, sys
from pathlib import Path
from dpmix.experiment import Experiment
from dpmix.training.runner import Execution, make

runs = [Experiment(**json.loads(text)) for text in json.loads(Path("runs.json").read_text())]
make(runs, "demo", Execution(device="cpu", checkpoint_seconds=0))
"""


def torchrun(world: World, repository: Path, count: int, runs: list[Experiment]) -> str:
    (world.folder / "child.py").write_text(CHILD)
    (world.folder / "runs.json").write_text(json.dumps([run.model_dump_json() for run in runs]))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "child.py"],
        cwd=world.folder,
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def weights(run: Experiment) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(run.directory("demo") / "model.safetensors")


def test_shares_are_a_partition() -> None:
    for count in (1, 2, 3, 7):
        for size in (0, 1, 5, 64):
            shares = [Workers(rank, count).share(np.arange(size)) for rank in range(count)]
            assert sorted(np.concatenate(shares).tolist()) == list(range(size))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_leads_and_needs_no_network() -> None:
    assert ALONE.leads
    assert not Workers(1, 2).leads


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_give_the_result_of_one(world: World, repository: Path, count: int) -> None:
    # A batch of two is often empty, or smaller than the number of processes.
    runs = [
        world.experiment(epsilon=1.0),
        world.scratch(epochs=1, momentum=0.5, ema_decay=0.9),
        world.scratch(batch_size=2, epochs=1, k_self=0),
    ]
    make(list(runs), "demo", Execution(device="cpu"))  # as the processes, which may be more than there are GPUs
    alone = [read_json(run.path("demo")) for run in runs]
    for run in runs:
        run.path("demo").unlink()
    torchrun(world, repository, count, runs)
    for run, expected in zip(runs, alone, strict=True):
        found = read_json(run.path("demo"))
        found.pop("times"), expected.pop("times")
        assert found == expected
    assert not list((world.folder / "results" / "demo" / "checkpoints").glob("*"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_release_on_two_processes_is_one_model(world: World, repository: Path) -> None:
    run = world.scratch(epochs=1, release=True)
    torchrun(world, repository, 2, [run])
    first = weights(run)
    run.path("demo").unlink()
    torchrun(world, repository, 2, [run])
    second = weights(run)
    assert all(np.isfinite(value).all() for value in first.values())
    # Nobody can repeat it: neither sample nor noise has a seed.
    assert any((first[name] != second[name]).any() for name in first)
