"""The same run on several processes: the sample is split, sums are added up, noise is added once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dpmix.artefacts.experiment import Experiment
from dpmix.execution import Execution
from dpmix.files import read_json
from dpmix.models.features import Featurizer
from dpmix.training.data import load_data
from dpmix.training.heads import Head, train_heads
from dpmix.training.outcome import Outcome
from dpmix.training.runner import make
from dpmix.training.scratch import train_from_scratch
from dpmix.training.workers import ALONE, Workers
from tests.training.conftest import World, blocks, plan_for
from tests.training.reference import Pattern

pytestmark = pytest.mark.filterwarnings("ignore")

CHILD = """
import json
from pathlib import Path
from safetensors.torch import save_file
from dpmix.execution import Execution
from dpmix.artefacts.experiment import Experiment
from dpmix.training.data import load_data
from dpmix.training.inputs import load_plan
from dpmix.training.runner import make
from dpmix.training.scratch import train_from_scratch
from dpmix.training.workers import workers

runs = [Experiment(**json.loads(text)) for text in json.loads(Path("runs.json").read_text())]
make(runs, "demo", Execution(device="cpu", checkpoint_seconds=0, block=3))
group, _ = workers("cpu")
for run in runs[1:2]:
    plan, data = load_plan(run, "demo"), load_data(run, "demo")
    trained = train_from_scratch(run, plan, data, block=3, workers=group).weights
    if group.is_main:
        save_file({name: value.contiguous() for name, value in trained.items()}, "weights.safetensors")
"""


def torchrun(world: World, repository: Path, count: int, runs: list[Experiment]) -> str:
    (world.folder / "child.py").write_text(CHILD)
    (world.folder / "runs.json").write_text(json.dumps([run.model_dump_json() for run in runs]))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "child.py"],
        cwd=world.folder,
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def weights(run: Experiment) -> dict[str, torch.Tensor]:
    return load_file(run.directory("demo") / "model.safetensors")


@pytest.mark.parametrize("block", [1, 4])
def test_shares_are_a_partition(block: int) -> None:
    for count in (1, 2, 3, 7):
        for size in (0, 1, 5, 64):
            shares = [Workers(rank, count).shard(np.arange(size), block) for rank in range(count)]
            assert sorted(np.concatenate(shares).tolist()) == list(range(size))
            assert max(map(len, shares)) - min(map(len, shares)) <= block
            # Whole blocks, but for the last of all.
            starts = {int(unit) for share in shares for unit in share[::block]}
            assert starts == set(range(0, size, block))


@dataclass(frozen=True)
class Apart(Workers):
    """One of several processes that run one after the other, in the test's hands.

    Sums stay its own and are kept in `added`, unless `sums` has what all processes together have. What the first
    process says is kept in `said`, and the others hear it.
    """

    said: list[torch.Tensor] = field(default_factory=list)
    sums: list[list[torch.Tensor]] = field(default_factory=list)
    heard: list[torch.Tensor] = field(default_factory=list)
    added: list[list[torch.Tensor]] = field(default_factory=list)

    def all_reduce(self, *tensors: torch.Tensor) -> None:
        if self.sums:
            for tensor, total in zip(tensors, self.sums[len(self.added)], strict=True):
                tensor.copy_(total)
        self.added.append([tensor.clone() for tensor in tensors])

    def broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        own = tensor.clone() if self.is_main else self.said[len(self.heard)]
        (self.said if self.is_main else self.heard).append(own)
        return own

    def wait(self) -> None:
        return None


Process = Callable[[Apart, float], tuple[Outcome, Pattern]]


@pytest.fixture(params=["network", "head"])
def process(world: World, request: pytest.FixtureRequest) -> Process:
    """What one process makes of a run at a learning rate. Of six expected units, some have none at some steps."""
    changes = {"batch_size": 6, "epochs": 1, "clip_norm": 0.5}
    experiment = (world.scratch if request.param == "network" else world.experiment)(**changes)
    plan, data = plan_for(experiment.plan(), 1.0), load_data(experiment, "demo")

    def run(workers: Apart, rate: float) -> tuple[Outcome, Pattern]:
        numbered, pattern = experiment.model_copy(update={"learning_rate": rate}), Pattern([])
        options = {"noise": pattern, "workers": workers}
        if request.param == "network":
            return train_from_scratch(numbered, plan, data, block=2, **options), pattern
        head = Head(plan, rate, "a", record_magnitudes=True)
        return train_heads(numbered, [head], data, Featurizer(blocks), **options)[0], pattern

    return run


@pytest.mark.parametrize("count", [2, 5])
def test_the_parts_of_every_sum_add_up(process: Process, count: int) -> None:
    """With a learning rate of zero the weights stay, so that a process needs no other's sums to go on."""
    whole, said = Apart(0, 1), list[torch.Tensor]()
    alone, _ = process(whole, 0.0)
    parts = [Apart(rank, count, said) for rank in range(count)]
    for part in parts:
        process(part, 0.0)
    assert len(whole.added) >= 16
    assert {len(part.added) for part in parts} == {len(whole.added)}
    sums = [
        [torch.stack(several).sum(dim=0) for several in zip(*step, strict=True)]
        for step in zip(*(part.added for part in parts), strict=True)
    ]
    for expected, found in zip(whole.added, sums, strict=True):
        for tensor, total in zip(expected, found, strict=True):
            # A network's sums are whole numbers, and equal to the last bit.
            torch.testing.assert_close(total, tensor, rtol=1e-4 * tensor.is_floating_point(), atol=1e-5)
    assert any(bool(tensor.any()) for tensor in whole.added[0])
    # With the sums of all, whoever leads tells what one process alone would.
    together, _ = process(Apart(0, count, [], sums), 0.0)
    assert together.accuracies == alone.accuracies
    assert together.clipped == alone.clipped
    if alone.magnitudes is not None:
        np.testing.assert_allclose(together.magnitudes, alone.magnitudes, rtol=1e-4, atol=1e-6)


def test_all_take_the_leading_processs_steps(process: Process) -> None:
    said = list[torch.Tensor]()
    (first, noise), (second, silence) = (process(Apart(rank, 2, said), 0.5) for rank in range(2))
    assert len(noise.calls) >= 16
    assert not silence.calls
    for name, value in first.weights.items():
        assert torch.equal(second.weights[name], value), name


def test_one_process_leads_and_needs_no_network() -> None:
    assert ALONE.is_main
    assert not Workers(1, 2).is_main


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_give_the_result_of_one(world: World, repository: Path, count: int) -> None:
    # A batch of two is often empty, or smaller than the number of processes.
    runs = [
        world.experiment(epsilon=1.0),
        world.scratch(epochs=1, momentum=0.5, ema_decay=0.9),
        world.scratch(batch_size=2, epochs=1, k_self=0),
        world.scratch(epochs=1, update="model-mix", clipping="coordinates", mix_width=0.5),
    ]
    # On the processor as the processes, which may be more than there are GPUs.
    make(list(runs), "demo", Execution(device="cpu", block=3))
    alone = [read_json(run.path("demo")) for run in runs]
    for run in runs:
        run.path("demo").unlink()
    torchrun(world, repository, count, runs)
    for run, expected in zip(runs, alone, strict=True):
        found = read_json(run.path("demo"))
        found.pop("times"), expected.pop("times")
        found.pop("sha256"), expected.pop("sha256")  # of what says how many processes there were, too
        assert (found["execution"].pop("processes"), expected["execution"].pop("processes")) == (count, 1)
        assert found == expected
    assert not list((world.folder / "results" / "demo" / "checkpoints").glob("*"))
    run = runs[1]
    whole = train_from_scratch(run, world.plan(run), load_data(run, "demo"), block=3, physical_batch=7, device="cpu")
    shared = load_file(world.folder / "weights.safetensors")
    assert shared.keys() == whole.weights.keys()
    assert all(torch.equal(shared[name], value) for name, value in whole.weights.items())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_release_on_two_processes_is_one_model(world: World, repository: Path) -> None:
    run = world.scratch(epochs=1, release=True)
    torchrun(world, repository, 2, [run])
    first = weights(run)
    run.path("demo").unlink()
    torchrun(world, repository, 2, [run])
    second = weights(run)
    assert all(bool(value.isfinite().all()) for value in first.values())
    # Nobody can repeat it: neither sample nor noise has a seed.
    assert any(not torch.equal(first[name], second[name]) for name in first)
