"""Correlated noise in real runs: cyclic sampling, noise keyed or secret, and resuming."""

import numpy as np
import pytest
import torch

from dpmix.artefacts.experiment import Experiment
from dpmix.execution import Execution
from dpmix.files import read_json
from dpmix.privacy.accounting import composed_epsilons
from dpmix.privacy.banded_noise import BandedNoise
from dpmix.privacy.banded_plan import BandedPlan
from dpmix.privacy.cyclic_sampling import cyclic_part
from dpmix.privacy.sampling import executed_rate
from dpmix.release.statement import read_statement
from dpmix.training.runner import make
from tests.training.conftest import World

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["scratch", "head"])
def run(world: World, request: pytest.FixtureRequest) -> Experiment:
    return (world.scratch if request.param == "scratch" else world.experiment)(bands=3, epochs=2)


def test_each_step_samples_its_part(world: World) -> None:
    for release in (False, True):
        run = world.scratch(bands=3, release=release)
        plan = world.plan(run)
        assert isinstance(plan, BandedPlan)
        for step in range(6):
            part = cyclic_part(step, plan.population, plan.batch_size, 3)
            sample = plan.sampler(run.private_seed).sample(step)
            assert np.isin(sample.units, part).all()
            assert sample.rate == executed_rate(plan.part_rate)
            np.testing.assert_array_equal(sample.candidates, part)


def test_what_was_executed_is_what_was_accounted(run: Experiment) -> None:
    make([run], "demo")
    metrics = read_json(run.path("demo"))
    assert metrics["epsilon"]["rdp"] <= run.epsilon
    assert metrics["steps"]["executed"] == metrics["steps"]["planned"] == 8


class Killed(BaseException):
    """What no code catches."""


def test_a_killed_run_goes_on_with_the_same_noise(run: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    make([run], "demo")
    whole = read_json(run.path("demo"))
    run.path("demo").unlink()
    real = BandedNoise.add

    def killed(self: BandedNoise, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:
        if step == 5:
            raise Killed
        return real(self, total, std, step=step, name=name)

    with monkeypatch.context() as patch:
        patch.setattr(BandedNoise, "add", killed)
        with pytest.raises(Killed):
            make([run], "demo", Execution(checkpoint_seconds=0))
    make([run], "demo", Execution(checkpoint_seconds=0))
    resumed = read_json(run.path("demo"))
    assert {**resumed, "times": 0} == {**whole, "times": 0}


def test_a_release_keeps_nothing_that_its_noise_depends_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def seeded(*arguments: object, **named: object) -> None:
        raise AssertionError("a release must not sample or draw noise from a seed")

    monkeypatch.setattr("dpmix.privacy.cyclic_sampling.cyclic_poisson_sample", seeded)
    monkeypatch.setattr("dpmix.privacy.banded_noise.gaussian", seeded)
    run = world.scratch(bands=3, epochs=2, release=True)
    make([run], "demo", Execution(checkpoint_seconds=0))
    assert not (world.folder / "results" / "demo" / "checkpoints").exists()


def test_bands_that_cannot_be_sampled_are_refused(world: World) -> None:
    with pytest.raises(ValueError, match="5 bands sample from 19 images at a time, fewer than batch_size 24"):
        world.scratch(bands=5)


@pytest.mark.parametrize("track", ["scratch", "head"])
def test_a_release_states_the_steps_that_count(world: World, track: str) -> None:
    """Of T steps with b bands, a record takes part in ⌈T / b⌉; of these the file alone gives ε again."""
    run = (world.scratch if track == "scratch" else world.experiment)(bands=3, epochs=2, release=True)
    make([run], "demo")
    metrics = read_json(run.path("demo"))
    statement = read_statement(run.directory("demo") / "model.safetensors")
    assert metrics["steps"]["executed"] == 8
    assert [row.steps for row in statement.mechanism] == [3]
    again = composed_epsilons(statement.mechanism, delta=statement.delta)
    assert again == pytest.approx({name: metrics["epsilon"][name] for name in again}, rel=1e-9)
    assert statement.epsilons == pytest.approx(again, abs=1e-6)
