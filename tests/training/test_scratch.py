"""DP-SGD of a network from scratch: the plan is executed to the letter."""

import numpy as np
import pytest
import torch

from dpmix.training import scratch
from dpmix.training.data import load_data
from dpmix.training.scratch import train_from_scratch
from tests.training.conftest import TRAIN, Recorder, World

MICROBATCHES = {"microbatch_size": 2, "microbatch_mixup": "added", "k_base": 1, "k_self": 0, "method": "microbatch"}


@pytest.mark.parametrize("changes", [{}, MICROBATCHES], ids=["examples", "microbatches"])
@pytest.mark.parametrize("backend", ["auto", "sequential"])
def test_the_physical_batch_does_not_matter_to_the_last_bit(world: World, changes: dict, backend: str) -> None:
    experiment = world.scratch(epochs=1, **changes)
    plan, data = world.plan(experiment), load_data(experiment, "demo")
    recorders = [Recorder([]), Recorder([])]
    outcomes = [
        train_from_scratch(experiment, plan, data, physical_batch=size, noise=recorder, backend=backend, device="cpu")
        for size, recorder in zip((5, 64), recorders, strict=True)
    ]
    assert torch.equal(recorders[0].totals(), recorders[1].totals())
    assert outcomes[0].accuracies == outcomes[1].accuracies
    assert all(torch.equal(value, outcomes[1].weights[name]) for name, value in outcomes[0].weights.items())


@pytest.mark.parametrize("changes", [{}, MICROBATCHES], ids=["examples", "microbatches"])
def test_a_step_depends_on_the_block_by_rounding(world: World, changes: dict) -> None:
    """Other shapes go through the network; with a learning rate of zero no step sees another's rounding."""
    experiment = world.scratch(epochs=1, **changes)
    plan, data = world.plan(experiment), load_data(experiment, "demo")
    experiment = experiment.model_copy(update={"learning_rate": 0.0})
    recorders = [Recorder([]), Recorder([])]
    for size, recorder in zip((5, 64), recorders, strict=True):
        train_from_scratch(experiment, plan, data, block=size, noise=recorder)
    torch.testing.assert_close(recorders[0].totals(), recorders[1].totals(), rtol=1e-4, atol=1e-4)


def test_what_was_executed_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = world.scratch(epochs=1, batch_size=12)
    plan, data = world.plan(experiment), load_data(experiment, "demo")
    outcome = train_from_scratch(experiment, plan, data, backend="sequential", block=6, device="cpu")
    assert outcome.execution == {
        "backend": "sequential", "device": "cpu", "processes": 1, "threads": torch.get_num_threads(),
        "physical_batch": 6, "halved_to": None,
    }  # fmt: skip
    clip = scratch.clipped_sum

    def little_memory(loss: object, params: object, views: torch.Tensor, *rest: object, **more: object) -> object:
        if len(views) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return clip(loss, params, views, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(scratch, "clipped_sum", little_memory)
    said = train_from_scratch(experiment, plan, data, block=6, device="cpu").execution
    assert (said["backend"], said["physical_batch"], said["halved_to"]) == ("vectorized", 6, 1)


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
