"""A model that leaves the house: nothing can be recomputed that must not be, and nothing unprotected is written."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import save_file

from dpmix.artefacts.base import SEMANTICS
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.errors import DpmixError, PrivacyError
from dpmix.execution import Execution
from dpmix.files import read_json, write_json
from dpmix.privacy.noise import SecureNoise
from dpmix.privacy.sampling import executed_rate
from dpmix.training.runner import make
from tests.training.conftest import World, plan_for

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["scratch", "head"])
def run(world: World, request: pytest.FixtureRequest) -> Experiment:
    return (world.scratch if request.param == "scratch" else world.experiment)(epochs=1, release=True)


def weights(run: Experiment) -> dict[str, torch.Tensor]:
    with safe_open(run.directory("demo") / "model.safetensors", framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_neither_sample_nor_noise_comes_from_a_seed(run: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    def seeded(*arguments: object, **named: object) -> None:
        raise AssertionError("a release must not sample or draw noise from a seed")

    monkeypatch.setattr("dpmix.privacy.sampling.poisson_sample", seeded)
    monkeypatch.setattr("dpmix.privacy.noise.gaussian", seeded)
    found = []
    for _ in range(2):
        make([run], "demo")
        found.append(weights(run))
    assert all(bool(torch.isfinite(value).all()) for value in found[0].values())
    assert any(not torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_only_what_the_guarantee_covers_is_written(run: Experiment) -> None:
    make([run], "demo")
    metrics = read_json(run.path("demo"))
    assert "clipped" not in metrics
    # How long it took depends on who was sampled.
    assert set(metrics["times"]) == {"hardware", "finished", "sha256"}
    assert len(metrics["times"]["finished"]) == len("2026-01-01")
    assert metrics["steps"]["executed"] == metrics["steps"]["planned"]
    left = sorted(path.name for path in run.directory("demo").iterdir())
    assert left == ["metrics.json", "model.safetensors"]
    with safe_open(run.directory("demo") / "model.safetensors", framework="pt") as file:
        said = file.metadata()
    assert float(said["epsilon_rdp"]) <= run.epsilon
    assert float(said["delta"]) == run.delta


def test_the_saved_model_is_the_one_that_was_measured(world: World) -> None:
    from dpmix.models.networks import build_network
    from dpmix.training.data import load_data
    from dpmix.training.scratch import evaluate

    run = world.scratch(epochs=1, release=True, ema_decay=0.9)
    make([run], "demo")
    model = build_network(run.model, 3, run.dataset.classes, seed=5)  # type: ignore[arg-type]
    accuracy = evaluate(model, weights(run), load_data(run, "demo"), "cpu")
    assert accuracy == read_json(run.path("demo"))["accuracy"]


def test_a_research_run_leaves_its_metrics_alone(world: World) -> None:
    run = world.scratch(epochs=1)
    make([run], "demo")
    assert [path.name for path in run.directory("demo").iterdir()] == ["metrics.json"]
    assert 0 <= read_json(run.path("demo"))["clipped"] <= 1


def test_a_rate_chosen_on_private_images_and_a_record_of_gradients_are_refused(world: World) -> None:
    tuning = world.experiment(learning_rate=None, holdout=0.25)
    with pytest.raises(ValidationError, match="choosing a learning rate on private images is not covered"):
        world.experiment(learning_rate=Selection(experiment=tuning, learning_rates=(1.0, 2.0)), release=True)
    with pytest.raises(ValidationError, match="gradients before clipping"):
        GradientRecord(experiment=world.experiment(release=True))


def test_the_average_is_of_the_noisy_weights(world: World) -> None:
    from dpmix.training.averaging import update_average, warm_decay

    assert warm_decay(0.999, 0) == pytest.approx(0.1)
    assert warm_decay(0.999, 10**6) == 0.999
    values = np.random.default_rng(0).normal(size=(200, 3))
    average = torch.zeros(3, dtype=torch.float64)
    expected = np.zeros(3)
    for step, value in enumerate(values):
        update_average(average, torch.from_numpy(value), 0.9, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    np.testing.assert_allclose(average.numpy(), expected, rtol=1e-12)


class Killed(BaseException):
    """What no code catches."""


def killed_in_step_5(run: Experiment) -> Path:
    """The checkpoint of a run that ended there."""
    real = SecureNoise.add

    def killed(self: SecureNoise, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:
        if step == 5:
            raise Killed
        return real(self, total, std, step=step, name=name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SecureNoise, "add", killed)
        with pytest.raises(Killed):
            make([run], "demo", Execution(checkpoint_seconds=0))
    (left,) = Path("results/demo/checkpoints").iterdir()
    return left


@pytest.mark.parametrize("kind", ["scratch", "head"])
def test_a_checkpoint_of_a_release_holds_noisy_numbers_alone(world: World, kind: str) -> None:
    """Weights, what plain SGD makes of noisy steps, and public counts: no accuracy, which reads the test images."""
    settings = {"epochs": 2, "momentum": 0.5, "ema_decay": 0.9, "release": True}
    run = world.scratch(**settings) if kind == "scratch" else world.experiment(**settings)
    left = killed_in_step_5(run)
    with safe_open(left, framework="pt") as file:
        values = json.loads(file.metadata()["values"])
        names = {name.partition("/")[0] for name in file.keys()}  # noqa: SIM118
    assert names == {"params", "velocity", "average"}
    assert set(values) == {"step", "ledgers", "accuracies"}
    assert values["accuracies"] == []  # after 5 of 8 steps, of which an epoch has 4
    ((row,),) = values["ledgers"]
    assert row[1:] == [executed_rate(0.25), 5]
    assert row[0] == pytest.approx(plan_for(run.plan()).noise_multiplier)
    # It goes on from there.
    make([run], "demo", Execution(checkpoint_seconds=0))
    metrics = read_json(run.path("demo"))
    assert metrics["steps"]["executed"] == 8
    assert metrics["accuracy_by_epoch"] == [metrics["accuracy"]]


def test_a_log_of_a_release_has_no_times(run: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    """And as many lines at the same steps, however long the steps take."""
    with pytest.MonkeyPatch.context() as patch:
        clock = itertools.count(step=1000.0)
        patch.setattr("time.monotonic", lambda: next(clock))
        make([run], "demo")
    said = [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines() if "step" in line]
    steps = plan_for(run.plan()).steps
    assert said == [f"{done} of {steps} steps" for done in range(1, steps)]
    assert steps < 10


@pytest.mark.parametrize("kind", ["scratch", "head"])
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"noise_multiplier": 0.3}, r"spends epsilon [0-9.]+ \(rdp\), above the target 2"),
        ({"population": 960}, "is not the plan of this run: its population is 960, not 96"),
        ({"batch_size": 12}, "its batch_size is 12, not 24"),
        ({"steps": 4}, "its steps is 4, not 8"),
        ({"clip_norm": 0.5}, "its clip_norm is 0.5, not 1.0"),
        ({"delta": 1e-3}, "its delta is 0.001, not 1e-05"),
        ({"target_epsilon": 20.0}, "its target_epsilon is 20.0, not 2.0"),
        ({"accountant": "pld"}, "its accountant is pld, not rdp"),
        ({"microbatch_size": 2}, "its microbatch_size is 2, not 1"),
    ],
)
def test_a_plan_that_was_edited_trains_nothing(world: World, kind: str, edit: dict[str, object], words: str) -> None:
    run = world.scratch(release=True) if kind == "scratch" else world.experiment(epochs=2, release=True)
    path = run.plan().path("demo")
    write_json(path, {**read_json(path), **edit})
    with pytest.raises(DpmixError, match=words) as caught:
        make([run], "demo")
    assert str(path) in str(caught.value)
    assert "delete it and make it again" in str(caught.value)
    assert not run.directory("demo").exists()


@pytest.mark.parametrize("kind", ["scratch", "head"])
def test_a_release_whose_noise_source_adds_nothing_is_not_written(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    run = world.scratch(release=True) if kind == "scratch" else world.experiment(epochs=2, release=True)
    monkeypatch.setattr(SecureNoise, "add", lambda self, total, std, *, step, name: total)
    with pytest.raises(PrivacyError, match="the noise that was added has 0 of the standard deviation"):
        make([run], "demo")
    assert not run.directory("demo").exists()


def test_a_plan_is_another_file_when_its_meaning_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = world.scratch().plan()
    assert plan.semantics == SEMANTICS
    assert plan.model_copy(update={"semantics": SEMANTICS + 1}).path("demo") != plan.path("demo")


@pytest.mark.parametrize(
    "edit",
    [{"step": 0}, {"step": -3}, {"ledgers": [[[50.0, executed_rate(0.25), 5]]]}, {"ledgers": [[]]}, {"ledgers": []}],
    ids=str,
)
def test_a_checkpoint_that_was_edited_is_not_taken_up(world: World, edit: dict[str, object]) -> None:
    """More noise or fewer steps than were executed would make ε too small."""
    run = world.scratch(epochs=2, release=True)
    left = killed_in_step_5(run)
    with safe_open(left, framework="pt") as file:
        values = json.loads(file.metadata()["values"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, left, {"values": json.dumps({**values, **edit})})
    with pytest.raises(PrivacyError, match=r"is not of this run .*; delete it, and the run starts afresh"):
        make([run], "demo", Execution(checkpoint_seconds=0))
    assert not run.directory("demo").exists()
