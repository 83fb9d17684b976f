"""DP-SGD of a network from scratch: the plan is executed to the letter."""

import numpy as np
import pytest
import torch

from dpmix.training.data import load_data
from dpmix.training.scratch import train_from_scratch
from tests.training.conftest import TRAIN, Recorder, World

MICROBATCHES = {"microbatch_size": 2, "microbatch_mixup": "added", "k_base": 1, "k_self": 0, "method": "microbatch"}


@pytest.mark.parametrize("changes", [{}, MICROBATCHES], ids=["examples", "microbatches"])
def test_the_physical_batch_does_not_matter(world: World, changes: dict) -> None:
    experiment = world.scratch(epochs=1, **changes)
    plan, data = world.plan(experiment), load_data(experiment, "demo")
    recorders = [Recorder([]), Recorder([])]
    outcomes = [
        train_from_scratch(experiment, plan, data, physical_batch=size, noise=recorder)
        for size, recorder in zip((5, 64), recorders, strict=True)
    ]
    torch.testing.assert_close(recorders[0].totals(), recorders[1].totals(), rtol=1e-4, atol=1e-4)
    assert outcomes[0].accuracies == outcomes[1].accuracies


def test_it_repeats_and_depends_on_the_seed(world: World) -> None:
    totals = []
    for seed in (1, 1, 2):
        experiment, recorder = world.scratch(epochs=1, seed=seed), Recorder([])
        train_from_scratch(experiment, world.plan(experiment), load_data(experiment, "demo"), noise=recorder)
        totals.append(recorder.totals())
    assert torch.equal(totals[0], totals[1])
    assert not torch.allclose(totals[0], totals[2])


@pytest.mark.parametrize(("changes", "sensitivity"), [({}, 1), (MICROBATCHES, 2)], ids=["examples", "microbatches"])
def test_noise_is_added_once_a_step_to_each_parameter(
    world: World, recorder: Recorder, changes: dict, sensitivity: int
) -> None:
    experiment = world.scratch(clip_norm=0.5, **changes)
    plan = world.plan(experiment, 0.7)
    outcome = train_from_scratch(experiment, plan, load_data(experiment, "demo"), noise=recorder, physical_batch=16)
    names = list(dict.fromkeys(name for _, name, *_ in recorder.calls))
    assert [(step, name) for step, name, *_ in recorder.calls] == [(s, n) for s in range(plan.steps) for n in names]
    np.testing.assert_allclose([std for *_, std, _ in recorder.calls], 0.7 * 0.5 * sensitivity)
    assert outcome.ledger.steps == plan.steps == 8
    assert len(outcome.accuracies) == experiment.epochs
    assert outcome.accuracy == outcome.accuracies[-1]
    # No unit moves the sum by more than C.
    for step in range(plan.steps):
        norm = torch.cat([total.flatten() for at, *_, total in recorder.calls if at == step]).norm()
        assert float(norm) <= 0.5 * plan.units * (1 + 1e-5)


def test_an_empty_sample_is_a_step_of_noise_alone(world: World, recorder: Recorder) -> None:
    experiment = world.scratch(batch_size=1, epochs=1, k_base=1, k_self=0)
    plan = world.plan(experiment)
    train_from_scratch(experiment, plan, load_data(experiment, "demo"), noise=recorder)
    empty = {step for step, *_, total in recorder.calls if not total.any()}
    filled = {step for step, *_, total in recorder.calls if total.any()}
    assert plan.steps == TRAIN
    assert len(empty - filled) > 10
    assert len(filled) > 10


def test_without_noise_it_learns(world: World, recorder: Recorder) -> None:
    experiment = world.scratch(epochs=12, k_self=0, transforms=(), learning_rate=1.0, momentum=0.5)
    outcome = train_from_scratch(experiment, world.plan(experiment), load_data(experiment, "demo"), noise=recorder)
    assert outcome.accuracy > 60
    assert 0 <= outcome.clipped <= 1
    assert np.isfinite(outcome.accuracies).all()
