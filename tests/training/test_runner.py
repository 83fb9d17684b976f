"""From paths to files: what a job writes, and what it leaves when it does not finish.

Also a job of a network from scratch, `training.network_job`.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from dpmix.artefacts.data import EncoderModel
from dpmix.artefacts.experiment import Experiment
from dpmix.errors import ParamsError
from dpmix.files import read_json
from dpmix.privacy.noise import SeededNoise
from dpmix.training.runner import make
from tests.training.conftest import ENCODER, World
from tests.training.jobs import remade

pytestmark = pytest.mark.filterwarnings("ignore")


def left_behind(world: World) -> list[str]:
    results = world.folder / "results" / "demo"
    return sorted(path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file())


@pytest.fixture
def stream(world: World) -> list[Experiment]:
    return [world.experiment(epsilon=epsilon) for epsilon in (1.0, 2.0, 4.0)]


def test_the_same_seed_gives_the_same_bytes_apart_from_times(world: World, stream: list[Experiment]) -> None:
    texts = []
    for _ in range(2):
        make([stream[0], world.scratch()], "demo")
        for run in (stream[0], world.scratch()):
            metrics = read_json(run.path("demo"))
            assert set(metrics.pop("times")) == {"seconds", "hardware", "finished", "sha256"}
            texts.append(json.dumps(metrics))  # in the file's own order
            run.path("demo").unlink()
    assert texts[:2] == texts[2:]


def test_a_stream_gives_the_same_results_as_its_heads_alone(stream: list[Experiment]) -> None:
    together = remade(list(stream))
    alone = {path: metrics for run in stream for path, metrics in remade([run], physical_batch=5).items()}
    assert together == alone
    assert len({json.dumps(metrics["accuracy_by_epoch"]) for metrics in together.values()}) > 1


@pytest.mark.parametrize("kind", ["head", "scratch"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_run_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, error: type[BaseException]
) -> None:
    run = world.experiment() if kind == "head" else world.scratch()
    before = left_behind(world)

    def add(self: SeededNoise, total: Any, std: Any, *, step: int, name: str) -> Any:
        if step == 5:
            raise error
        return total

    with monkeypatch.context() as patch:
        patch.setattr(SeededNoise, "add", add)
        with pytest.raises(error):
            make([run], "demo")
    assert left_behind(world) == before
    make([run], "demo")
    assert run.path("demo").is_file()


def test_finished_streams_of_an_interrupted_job_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = world.experiment(seed=1), world.experiment(seed=2)
    original = SeededNoise.add

    def add(self: SeededNoise, total: Any, std: Any, *, step: int, name: str) -> Any:
        if self.seed == 2:
            raise KeyboardInterrupt
        return original(self, total, std, step=step, name=name)

    monkeypatch.setattr(SeededNoise, "add", add)
    with pytest.raises(KeyboardInterrupt):
        make([first, second], "demo")
    assert first.path("demo").is_file()
    assert not second.path("demo").exists()


def test_what_training_does_not_make_is_refused(world: World) -> None:
    with pytest.raises(ParamsError, match="EncoderModel is not something that training makes"):
        make([EncoderModel(encoder=ENCODER)], "demo")
    assert not Path("results/demo/runs").exists()
