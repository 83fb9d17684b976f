"""A run that is killed and started again is the run that was never killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dpmix.artefacts.experiment import Experiment, GradientRecord
from dpmix.errors import DataError, DpmixError, PrivacyError
from dpmix.execution import Execution
from dpmix.files import read_json
from dpmix.privacy.noise import SeededNoise
from dpmix.training.checkpoint import Checkpoint
from dpmix.training.data import load_data
from dpmix.training.runner import make
from dpmix.training.scratch import train_from_scratch
from tests.training.conftest import World

pytestmark = pytest.mark.filterwarnings("ignore")
EVERY_STEP = Execution(checkpoint_seconds=0)


class Killed(BaseException):
    """What no code catches."""


class Stops(SeededNoise):
    """Noise of a process that is killed in its fourth step."""

    def add(self, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:  # type: ignore[override]
        if step == 3:
            raise Killed
        return super().add(total, std, step=step, name=name)


def metrics(experiment: Experiment) -> dict:
    found = read_json(experiment.path("demo"))
    found.pop("times")
    return found


def checkpoints(world: World) -> list[Path]:
    return sorted((world.folder / "results" / "demo" / "checkpoints").glob("*.safetensors"))


def times(world: World) -> dict[Path, int]:
    """When each was written; one that is renamed or removed meanwhile is left out."""
    found = {}
    for path in checkpoints(world):
        with contextlib.suppress(FileNotFoundError):
            found[path] = path.stat().st_mtime_ns
    return found


def runs(world: World) -> dict[str, Experiment]:
    # Momentum and averaging, because their state is what a careless checkpoint forgets.
    settings = {"momentum": 0.5, "ema_decay": 0.9, "weight_decay": 0.01}
    return {"scratch": world.scratch(**settings), "head": world.experiment(**settings)}


@pytest.mark.parametrize("track", ["scratch", "head"])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_run_stopped_after_any_step_has_the_same_metrics_and_record(
    world: World, monkeypatch: pytest.MonkeyPatch, track: str, after: int
) -> None:
    run = runs(world)[track]
    record = [GradientRecord(experiment=run)] if track == "head" else []
    make([run, *record], "demo", EVERY_STEP)
    whole = metrics(run)
    for artefact in (run, *record):
        artefact.path("demo").rename(artefact.path("demo").with_suffix(".whole"))
    real = SeededNoise.add

    def killed(self: SeededNoise, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:
        if step == after:
            raise Killed
        return real(self, total, std, step=step, name=name)

    with monkeypatch.context() as patch:
        patch.setattr(SeededNoise, "add", killed)
        with pytest.raises(Killed):
            make([run, *record], "demo", EVERY_STEP)
    assert not run.path("demo").exists()
    assert len(checkpoints(world)) == (after > 0)
    steps = []

    def counted(self: SeededNoise, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:
        steps.append(step)
        return real(self, total, std, step=step, name=name)

    monkeypatch.setattr(SeededNoise, "add", counted)
    make([run, *record], "demo", EVERY_STEP)
    assert min(steps) == after
    assert metrics(run) == whole
    assert checkpoints(world) == []
    # A record's sums are those of the batches in which features were encoded, which a resume may cut elsewhere.
    for artefact in record:
        with np.load(artefact.path("demo")) as first, np.load(artefact.path("demo").with_suffix(".whole")) as second:
            assert set(first) == set(second)
            sums = [name for name in first if first[name].dtype.kind == "f"]
            assert sums
            assert all(np.allclose(first[name], second[name], rtol=1e-5, atol=1e-7) for name in sums)


def test_weights_are_bit_for_bit_the_same(world: World, tmp_path: Path) -> None:
    run = runs(world)["scratch"]
    plan, data = world.plan(run), load_data(run, "demo")
    whole = train_from_scratch(run, plan, data)

    checkpoint = Checkpoint(tmp_path / "state.safetensors", every_seconds=0)
    with pytest.raises(Killed):
        train_from_scratch(run, plan, data, noise=Stops(run.seed), checkpoint=checkpoint)
    resumed = train_from_scratch(run, plan, data, checkpoint=checkpoint)
    assert resumed.ledger.history() == whole.ledger.history()
    for name, value in whole.weights.items():
        assert torch.equal(resumed.weights[name], value)


def test_the_time_before_a_resume_counts(world: World, tmp_path: Path) -> None:
    run = runs(world)["scratch"]
    plan, data = world.plan(run), load_data(run, "demo")
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every_seconds=0)
    with pytest.raises(Killed):
        train_from_scratch(run, plan, data, noise=Stops(run.seed), checkpoint=checkpoint)
    kept = checkpoint.load("cpu")
    assert kept is not None
    tensors, values = kept
    assert 0 < values["diagnostics"]["seconds"] < 1e4
    values["diagnostics"]["seconds"] = 1e4  # as if the first process had had that long
    checkpoint.save(tensors, values)
    started = time.perf_counter()
    resumed = train_from_scratch(run, plan, data, checkpoint=checkpoint)
    assert resumed.seconds is not None
    assert 1e4 < resumed.seconds <= 1e4 + time.perf_counter() - started


def test_another_run_is_not_taken_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = world.scratch(seed=1), world.scratch(seed=2)
    make([second], "demo")
    expected = metrics(second)
    second.path("demo").unlink()
    real = SeededNoise.add

    def killed(self: SeededNoise, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:
        if step == 2:
            raise Killed
        return real(self, total, std, step=step, name=name)

    with monkeypatch.context() as patch:
        patch.setattr(SeededNoise, "add", killed)
        with pytest.raises(Killed):
            make([first], "demo", EVERY_STEP)
    make([second], "demo", EVERY_STEP)
    assert metrics(second) == expected


def test_a_damaged_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state.safetensors")
    checkpoint.save({"weights": torch.ones(3)}, {"step": 1})
    whole = checkpoint.path.read_bytes()
    for broken in (whole[:-1], whole[:20], b"", b"\0" * 64):
        checkpoint.path.write_bytes(broken)
        with pytest.raises(DpmixError, match=r"state.safetensors is damaged .* delete it"):
            checkpoint.load("cpu")


def test_a_checkpoint_is_written_only_when_due(tmp_path: Path) -> None:
    assert not Checkpoint(tmp_path / "a", every_seconds=60).due
    assert Checkpoint(tmp_path / "a", every_seconds=0).due


CHILD = """
import json, sys
from pathlib import Path
from dpmix.execution import Execution
from dpmix.artefacts.experiment import Experiment
from dpmix.training.runner import make

runs = [Experiment(**json.loads(text)) for text in json.loads(Path(sys.argv[1]).read_text())]
make(runs, "demo", Execution(checkpoint_seconds=0))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("track", ["scratch", "head"])
def test_sigkill_at_any_moment(world: World, repository: Path, track: str) -> None:
    run = runs(world)[track]
    make([run], "demo")
    whole = metrics(run)
    run.path("demo").unlink()
    (world.folder / "child.py").write_text(CHILD)
    (world.folder / "runs.json").write_text(json.dumps([run.model_dump_json()]))
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    kills = 0
    while not run.path("demo").exists():
        child = subprocess.Popen([sys.executable, "child.py", "runs.json"], cwd=world.folder, env=environment)
        before = times(world)
        while child.poll() is None:
            # One more checkpoint than before, then the kill, at whatever it is doing by then.
            if kills < 3 and times(world) != before:
                time.sleep(0.003 * kills)
                child.send_signal(signal.SIGKILL)
                child.wait()
                kills += 1
                break
            time.sleep(0.001)
        else:
            assert child.returncode == 0
    assert kills >= 2
    assert metrics(run) == whole
    assert checkpoints(world) == []


@pytest.mark.parametrize("track", ["scratch", "head"])
def test_no_checkpoint_is_written_of_steps_whose_noise_is_too_small(
    world: World, monkeypatch: pytest.MonkeyPatch, track: str
) -> None:
    """A resumed process cannot measure the steps before it."""
    monkeypatch.setattr(SeededNoise, "add", lambda self, total, std, *, step, name: total)
    with pytest.raises(PrivacyError, match="the noise that was added"):
        make([runs(world)[track]], "demo", EVERY_STEP)
    assert checkpoints(world) == []


def test_a_step_that_was_edited_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    Checkpoint(path).save({"weight": torch.ones(2)}, {"step": 12})
    assert Checkpoint(path).load("cpu") is not None
    content = path.read_bytes()
    assert content.count(b'{\\"step\\": 12}') == 1
    path.write_bytes(content.replace(b'{\\"step\\": 12}', b'{\\"step\\": 22}'))
    with pytest.raises(
        DataError, match=r"^\S+run\.safetensors was damaged or changed .*; delete it, and the run starts"
    ):
        Checkpoint(path).load("cpu")


@pytest.mark.parametrize("content", [b"", b"null", b"\xff" * 64, b"[" * 1000, None])
def test_a_checkpoint_that_is_none_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "run.safetensors"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"run\.safetensors is damaged \(.*\); delete it, and the run starts afresh$"
    ) as caught:
        Checkpoint(path).load("cpu")
    assert "\n" not in str(caught.value)
