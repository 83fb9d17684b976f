import pytest

from dpmix.artefacts.experiment import Experiment
from dpmix.files import read_json
from dpmix.privacy.accounting import epsilons
from dpmix.training.runner import make
from tests.training.conftest import World, plan_for

pytestmark = pytest.mark.filterwarnings("ignore")


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
