"""A model that leaves the house: nothing can be recomputed that must not be, and nothing unprotected is written."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open

from dpmix.experiment import Experiment, GradientRecord, Selection
from dpmix.files import read_json
from dpmix.training.runner import make
from tests.training.conftest import World

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
    assert metrics["steps"]["executed"] == metrics["steps"]["planned"]
    left = sorted(path.name for path in run.directory("demo").iterdir())
    assert left == ["metrics.json", "model.safetensors"]
    with safe_open(run.directory("demo") / "model.safetensors", framework="pt") as file:
        said = file.metadata()
    assert float(said["epsilon_rdp"]) <= run.epsilon
    assert float(said["delta"]) == run.delta


def test_the_saved_model_is_the_one_that_was_measured(world: World) -> None:
    from dpmix.models.wide_resnet import wide_resnet
    from dpmix.training.data import load_data
    from dpmix.training.scratch import evaluate

    run = world.scratch(epochs=1, release=True, ema_decay=0.9)
    make([run], "demo")
    model = wide_resnet(run.model, 3, run.dataset.classes, seed=5)  # type: ignore[arg-type]
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
