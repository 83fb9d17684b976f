"""Runs on batches in a fixed order, of both trainers: what is sampled, what ε is written, and what is refused."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from dpmix.artefacts.experiment import Experiment
from dpmix.errors import ParamsError, PrivacyError
from dpmix.files import read_json, write_json
from dpmix.privacy.accounting import epsilons
from dpmix.privacy.fixed_order import FixedOrderPlan, FixedOrderSampler
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import PoissonSampler
from dpmix.training.inputs import load_plan
from dpmix.training.runner import make
from tests.training.conftest import World

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["scratch", "head"])
def run(world: World, request: pytest.FixtureRequest) -> Experiment:
    made = world.scratch if request.param == "scratch" else world.experiment
    return made(batches="fixed-order", epochs=2, batch_size=20)


def test_what_is_written_is_the_worst_case(run: Experiment) -> None:
    make([run], "demo")
    metrics = read_json(run.path("demo"))
    # 96 records are five batches; two epochs are ten steps, in two of which a record takes part.
    assert metrics["steps"] == {"planned": 10, "executed": 10}
    assert metrics["executed"] == [{"noise_multiplier": metrics["noise_multiplier"], "sampling_rate": 1.0, "steps": 10}]
    assert metrics["sampling_rate"] == 1.0
    spent = epsilons(noise_multiplier=metrics["noise_multiplier"], sampling_rate=1.0, steps=2, delta=run.delta)
    assert metrics["epsilon"] == {"nominal": run.epsilon, **spent}
    assert min(spent.values()) > 1.5 * run.epsilon
    assert run.path("demo").parent.name.startswith("nominal2-")
    assert run.plan().path("demo").name.startswith("n96-b20-e2-nominal2-")


def test_training_is_on_the_same_batches_in_each_epoch(
    run: Experiment, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[np.ndarray] = []
    sample = FixedOrderSampler.sample

    def seen(self: FixedOrderSampler, step: int) -> object:
        found = sample(self, step)
        drawn.append(found.units)
        return found

    monkeypatch.setattr(FixedOrderSampler, "sample", seen)
    monkeypatch.setattr(PoissonSampler, "sample", lambda *_: pytest.fail("a Poisson sample was drawn"))
    make([run], "demo")
    assert [len(units) for units in drawn] == [20, 20, 20, 20, 16] * 2
    for first, second in zip(drawn[:5], drawn[5:], strict=True):
        assert np.array_equal(first, second)
    assert sorted(np.concatenate(drawn[:5]).tolist()) == list(range(96))


def test_it_is_another_run_than_on_poisson_samples(run: Experiment) -> None:
    poisson = run.model_copy(update={"batches": "poisson"})
    assert run.path("demo") != poisson.path("demo")
    assert run.plan().path("demo") != poisson.plan().path("demo")
    assert run.stream() != poisson.stream()


def test_a_plan_of_the_other_kind_is_refused(run: Experiment, world: World) -> None:
    path = run.plan().path("demo")
    poisson = run.model_copy(update={"batches": "poisson"})
    write_json(path, poisson.plan().calibrated().to_json())
    with pytest.raises(ParamsError, match="its batches are Poisson samples, not in a fixed order; delete it"):
        load_plan(run, "demo")
    write_json(poisson.plan().path("demo"), run.plan().calibrated().to_json())
    with pytest.raises(ParamsError, match="its batches are in a fixed order, not Poisson samples; delete it"):
        load_plan(poisson, "demo")


def test_a_plan_whose_numbers_were_edited_is_refused(run: Experiment) -> None:
    path, values = run.plan().path("demo"), run.plan().calibrated().to_json()
    for change, error, words in (
        ({"nominal_epsilon": 3.0}, ParamsError, "its nominal_epsilon is 3.0, not 2"),
        ({"target_epsilon": 2.0}, PrivacyError, "above the target 2"),
        ({"noise_multiplier": values["noise_multiplier"] / 2}, PrivacyError, "above the target"),
        ({"steps": 9}, ParamsError, "its steps is 9, not 10"),
    ):
        write_json(path, json.loads(json.dumps({**values, **change})))
        with pytest.raises(error, match=words):
            load_plan(run, "demo")
    write_json(path, values)
    assert isinstance(load_plan(run, "demo"), FixedOrderPlan)


def test_what_it_cannot_be_combined_with(world: World) -> None:
    for change in ({"bands": 2}, {"microbatch_size": 2, "k_self": 0, "k_diff": 0}, {"update": "model-mix"}):
        with pytest.raises(ValidationError, match="batches in a fixed order are accounted for plain DP-SGD alone; set"):
            world.scratch(batches="fixed-order", **change)
    with pytest.raises(
        ValidationError, match="batches in a fixed order have another ε than the nominal one; set batches"
    ):
        world.experiment(batches="fixed-order", release=True)


def test_without_noise_the_order_is_fixed_as_well(world: World) -> None:
    run = world.experiment(batches="fixed-order", epsilon=float("inf"), epochs=2, batch_size=20)
    plan = run.plan().calibrated()
    assert isinstance(plan, FixedOrderPlan)
    assert plan.noise_std == 0
    assert plan.sampler(1) != Plan.make(
        population=96, batch_size=20, epochs=2, clip_norm=1, noise_multiplier=0, delta=1e-5
    ).sampler(1)
    make([run], "demo")
    assert read_json(run.path("demo"))["epsilon"] == {}
