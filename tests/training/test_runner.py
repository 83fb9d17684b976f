"""From paths to files: what a job writes, and what it leaves when it does not finish."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import EncoderModel
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.errors import DpmixError, ParamsError
from dpmix.execution import Execution
from dpmix.files import read_json, write_json
from dpmix.privacy.accounting import epsilons
from dpmix.privacy.noise import SeededNoise
from dpmix.training.inputs import learning_rate
from dpmix.training.runner import make
from tests.training.conftest import ENCODER, NETWORK, TEST, World, draw, plan_for

pytestmark = pytest.mark.filterwarnings("ignore")
RATES = (1.0, 8.0, 64.0)


def remade(artefacts: list[Artefact], **options: Any) -> dict[str, Any]:
    """What a fresh job writes, parsed, by path; `times` apart."""
    found = {}
    make(artefacts, "demo", Execution(**options))
    for artefact in artefacts:
        path = artefact.path("demo")
        if path.suffix == ".json":
            content = read_json(path)
            content.pop("times", None)
            found[path.as_posix()] = content
        path.unlink()
    return found


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
            assert set(metrics.pop("times")) == {"seconds", "hardware", "finished"}
            texts.append(json.dumps(metrics))  # in the file's own order
            run.path("demo").unlink()
    assert texts[:2] == texts[2:]


def test_a_stream_gives_the_same_results_as_its_heads_alone(stream: list[Experiment]) -> None:
    together = remade(list(stream))
    alone = {path: metrics for run in stream for path, metrics in remade([run], physical_batch=5).items()}
    assert together == alone
    assert len({json.dumps(metrics["accuracy_by_epoch"]) for metrics in together.values()}) > 1


def test_metrics_say_what_was_run(world: World) -> None:
    run = world.experiment()
    make([run], "demo")
    metrics = read_json(run.path("demo"))
    assert metrics["accuracy"] == metrics["accuracy_by_epoch"][-1]
    assert metrics["best_epoch_on_test"] == max(metrics["accuracy_by_epoch"])
    (executed,) = metrics["executed"]
    spent = epsilons(**executed, delta=run.delta)
    assert metrics["epsilon"] == {"target": 2.0, **spent}
    assert set(spent) == {"rdp", "prv", "pld"}
    assert 1.99 < spent["rdp"] <= 2.0
    assert metrics["steps"] == {"planned": 12, "executed": 12}
    assert (metrics["sampling_rate"], metrics["sensitivity"]) == (0.25, 1.0)
    assert metrics["noise_multiplier"] == plan_for(run.plan()).noise_multiplier
    assert (metrics["learning_rate"], metrics["learning_rate_from"]) == (4.0, "params.yaml")
    assert Experiment(**metrics["experiment"]) == run


def test_a_learning_rate_is_chosen_and_then_used(world: World) -> None:
    tuning = world.experiment(learning_rate=None, holdout=0.25)
    selection = Selection(experiment=tuning, learning_rates=RATES)
    make([selection], "demo")
    chosen = read_json(selection.path("demo"))
    assert set(chosen["accuracy_by_learning_rate"]) == {"1", "8", "64"}
    assert chosen["held_out"] == 24
    best = max(chosen["accuracy_by_learning_rate"].values())
    assert chosen["accuracy_by_learning_rate"][f"{chosen['learning_rate']:g}"] == best
    run = world.experiment(learning_rate=selection)
    make([run], "demo")
    metrics = read_json(run.path("demo"))
    assert metrics["learning_rate"] == chosen["learning_rate"] == learning_rate(run, "demo")
    assert metrics["learning_rate_from"] == selection.path("demo").as_posix()


def test_a_learning_rate_chosen_with_another_c_is_in_units_of_one_over_c(world: World) -> None:
    tuning = world.experiment(learning_rate=None, holdout=0.25, clip_norm=4.0)
    selection = Selection(experiment=tuning, learning_rates=RATES)
    write_json(selection.path("demo"), {"learning_rate": 8.0})
    for clip_norm, expected in ((4.0, 8.0), (0.5, 64.0), (0.05, 640.0)):
        run = world.experiment(learning_rate=selection, clip_norm=clip_norm)
        assert learning_rate(run, "demo") == pytest.approx(expected)
    make([run], "demo")
    assert read_json(run.path("demo"))["learning_rate"] == pytest.approx(640.0)
    assert learning_rate(world.experiment(learning_rate=2.0, clip_norm=0.05), "demo") == 2.0


def test_candidates_are_compared_under_the_same_noise(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = world.experiment(learning_rate=None, holdout=0.25)
    names, original = set(), SeededNoise.add

    def add(self: SeededNoise, total: Any, std: Any, *, step: int, name: str) -> Any:
        names.add(name)
        return original(self, total, std, step=step, name=name)

    monkeypatch.setattr(SeededNoise, "add", add)
    make([Selection(experiment=tuning, learning_rates=rates) for rates in (RATES, (2.0,))], "demo")
    assert len(names) == 1


def test_a_choice_does_not_depend_on_the_test_set(world: World) -> None:
    tuning = world.experiment(learning_rate=None, holdout=0.25)
    selection = Selection(experiment=tuning, learning_rates=RATES)
    first = remade([selection])
    _, labels = draw(TEST, 1)
    world.write_images(test=(np.full((TEST, 3, 16, 16), 255, dtype=np.uint8), labels))
    assert remade([selection]) == first


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


def test_what_is_missing_is_one_line(world: World) -> None:
    run = world.experiment()
    run.plan().path("demo").unlink()
    with pytest.raises(DpmixError, match="does not exist; run the step that makes it"):
        make([run], "demo")
    tuned = world.experiment(
        learning_rate=Selection(experiment=world.experiment(learning_rate=None, holdout=0.25), learning_rates=RATES)
    )
    with pytest.raises(DpmixError, match=r"selections/.* does not exist; run the step that makes it"):
        make([tuned], "demo")
    with pytest.raises(ParamsError, match="has no learning rate"):
        learning_rate(world.experiment(learning_rate=None), "demo")


def test_what_training_does_not_make_is_refused(world: World) -> None:
    with pytest.raises(ParamsError, match="EncoderModel is not something that training makes"):
        make([EncoderModel(encoder=ENCODER)], "demo")
    with pytest.raises(ParamsError, match="record gradients"):
        make([GradientRecord(experiment=world.scratch(model=NETWORK))], "demo")
    assert not Path("results/demo/runs").exists()
