"""The same run on several processes: the sample is split, sums are added up, noise is added once."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from dpmix.experiment import Experiment
from dpmix.files import read_json
from dpmix.training.data import load_data
from dpmix.training.head import Featurizer, Head, train_heads
from dpmix.training.runner import Execution, make
from dpmix.training.scratch import train_from_scratch
from dpmix.training.workers import ALONE, Workers
from tests.training.conftest import Recorder, World, blocks, plan_for

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


@dataclass(frozen=True)
class Apart(Workers):
    """One of several processes that run one after the other: sums stay its own, to be added up by the test.

    What the first process says is kept in `said`, and the others hear it.
    """

    said: list[torch.Tensor] = field(default_factory=list)
    heard: list[torch.Tensor] = field(default_factory=list)
    added: list[list[torch.Tensor]] = field(default_factory=list)

    def add(self, *tensors: torch.Tensor) -> None:
        self.added.append([tensor.clone() for tensor in tensors])

    def agree(self, tensor: torch.Tensor) -> torch.Tensor:
        own = tensor.clone() if self.leads else self.said[len(self.heard)]
        (self.said if self.leads else self.heard).append(own)
        return own

    def wait(self) -> None:
        return None


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("kind", ["network", "head"])
def test_the_parts_of_every_sum_add_up(world: World, kind: str, count: int) -> None:
    """With a learning rate of zero the weights stay, so that a process needs no other to go on.

    Of six expected units, some processes have none at some steps.
    """
    changes = {"batch_size": 6, "epochs": 1, "learning_rate": 0.0, "clip_norm": 0.5}
    experiment = world.scratch(**changes) if kind == "network" else world.experiment(**changes)
    plan, data = plan_for(experiment.plan(), 1.0), load_data(experiment, "demo")

    def sums(rank: int, count: int, said: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        recorder, workers = Recorder([]), Apart(rank, count, said)
        options = {"noise": recorder, "workers": workers}
        if kind == "network":
            train_from_scratch(experiment, plan, data, **options)
        else:
            train_heads(experiment, [Head(plan, 0.0, "a", record_magnitudes=True)], data, Featurizer(blocks), **options)
        # Who leads, and nobody else, adds noise.
        assert bool(recorder.calls) == (rank == 0)
        return workers.added

    said: list[torch.Tensor] = []
    whole, parts = sums(0, 1, []), [sums(rank, count, said) for rank in range(count)]
    assert len(whole) >= plan.steps == 16
    assert {len(part) for part in parts} == {len(whole)}
    for step, expected in enumerate(whole):
        for index, tensor in enumerate(expected):
            total = torch.stack([part[step][index] for part in parts]).sum(dim=0)
            torch.testing.assert_close(total, tensor, rtol=1e-4, atol=1e-5)
    assert any(bool(tensor.any()) for tensor in whole[0])


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
