"""The upper end of the ladder: the same head with ε = ∞, which is the private run without its noise."""

import json
import math

import pytest
import torch

from dpmix.artefacts.experiment import Selection
from dpmix.execution import Execution
from dpmix.files import read_json, write_json
from dpmix.models.encoder_files import shared_encoder
from dpmix.models.features import Featurizer
from dpmix.training.data import load_data
from dpmix.training.heads import Head, train_heads
from dpmix.training.runner import make
from tests.training.conftest import World, plan_for

pytestmark = pytest.mark.filterwarnings("ignore")


def calibrated(world: World, **changes: object) -> None:
    """The plan that the workflow's step would write."""
    spec = world.experiment(**changes).plan()
    write_json(spec.path("demo"), spec.calibrated().to_json())


def test_a_run_without_noise_spends_nothing_that_could_be_stated(world: World) -> None:
    run = world.experiment(epsilon=math.inf)
    calibrated(world, epsilon=math.inf)
    make([run], "demo")
    text = run.path("demo").read_text()
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["noise_multiplier"] == 0
    assert record["epsilon"] == {}
    assert record["experiment"]["epsilon"] == "inf"
    assert record["steps"]["executed"] == record["steps"]["planned"] == 12
    assert "/epsinf-k2-2-1-seed1-" in run.path("demo").as_posix()


def test_it_is_the_limit_of_private_runs(world: World) -> None:
    """Beside a head whose noise is next to nothing, on the same stream."""
    run = world.experiment(epsilon=math.inf)
    plans = [plan_for(run.plan(), noise) for noise in (0.0, 1e-9)]
    featurize = Featurizer(shared_encoder(world.encoder, Execution(device="cpu")))
    endless, quiet = train_heads(run, [Head(plan, 4.0, "a") for plan in plans], load_data(run, "demo"), featurize)
    assert endless.accuracies == quiet.accuracies
    assert endless.clipped == quiet.clipped


def test_it_chooses_a_learning_rate_of_its_own(world: World) -> None:
    tuning = {"holdout": 0.25, "learning_rate": None, "seed": 0}
    choices = {}
    for epsilon in (math.inf, 0.5):
        experiment = world.experiment(epsilon=epsilon, **tuning)
        calibrated(world, epsilon=epsilon, **tuning)
        choices[epsilon] = Selection(experiment=experiment, learning_rates=(1.0, 8.0))
    make(list(choices.values()), "demo")
    endless, private = (read_json(choice.path("demo"))["accuracy_by_learning_rate"] for choice in choices.values())
    assert choices[math.inf].path("demo") != choices[0.5].path("demo")
    assert endless != private
    assert sum(endless.values()) > sum(private.values())
    assert torch.isfinite(torch.tensor(list(endless.values()))).all()
