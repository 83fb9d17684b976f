"""One stream of views trains many heads, each as if alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dpmix.artefacts.experiment import Experiment
from dpmix.errors import PrivacyError
from dpmix.models.features import Featurizer
from dpmix.training.data import TrainingData, load_data
from dpmix.training.heads import Head, train_heads
from dpmix.training.outcome import Outcome
from dpmix.views.mixing import one_hot
from tests.training.conftest import CLASSES, TRAIN, Recorder, World, blocks, plan_for


@pytest.fixture
def data(world: World) -> TrainingData:
    return load_data(world.experiment(), "demo")


def heads_of(experiment: Experiment) -> list[Head]:
    plan = plan_for(experiment.plan(), 1.0)
    quiet = plan_for(experiment.plan(), 0.5)
    return [
        Head(plan, 4.0, "a", record_magnitudes=True),
        Head(quiet, 4.0, "b", record_magnitudes=True),
        Head(replace(plan, clip_norm=0.1), 32.0, "c", momentum=0.9, weight_decay=0.01, record_magnitudes=True),
    ]


def train(experiment: Experiment, heads: list[Head], data: TrainingData, **options: Any) -> list[Outcome]:
    return train_heads(experiment, heads, data, Featurizer(blocks), **options)


def same(first: Outcome, second: Outcome) -> None:
    assert first.magnitudes is not None
    assert second.magnitudes is not None
    np.testing.assert_allclose(first.magnitudes, second.magnitudes, rtol=0, atol=1e-6)
    np.testing.assert_allclose(first.accuracies, second.accuracies, rtol=0, atol=1e-6)
    assert first.clipped == second.clipped


def test_a_head_of_a_stream_is_the_same_as_alone(world: World, data: TrainingData) -> None:
    experiment = world.experiment()
    heads = heads_of(experiment)
    assert len(heads) == 3
    for head, together in zip(heads, train(experiment, heads, data), strict=True):
        (alone,) = train(experiment, [head], data)
        same(alone, together)


def test_the_order_of_heads_does_not_matter(world: World, data: TrainingData) -> None:
    experiment = world.experiment()
    heads = heads_of(experiment)
    forwards, backwards = train(experiment, heads, data), train(experiment, heads[::-1], data)
    assert len(forwards) == 3
    for first, second in zip(forwards, backwards[::-1], strict=True):
        same(first, second)


@pytest.mark.parametrize("physical_batch", [1, 7, 1000])
def test_the_physical_batch_does_not_matter(world: World, data: TrainingData, physical_batch: int) -> None:
    experiment = world.experiment()
    heads = heads_of(experiment)
    usual, other = (train(experiment, heads, data, physical_batch=size) for size in (64, physical_batch))
    assert len(usual) == 3
    for first, second in zip(usual, other, strict=True):
        same(first, second)


def test_it_repeats_and_depends_on_the_seed(world: World, data: TrainingData) -> None:
    heads = heads_of(world.experiment())
    first, second, other = (train(world.experiment(seed=seed), heads, data) for seed in (1, 1, 2))
    assert np.array_equal(first[0].magnitudes, second[0].magnitudes)
    assert not np.allclose(first[0].magnitudes, other[0].magnitudes)


def test_the_last_epoch_is_the_result(world: World, data: TrainingData) -> None:
    experiment = world.experiment(epochs=5)
    (outcome,) = train(experiment, [Head(plan_for(experiment.plan(), 3.0), 64.0, "a")], data)
    assert len(outcome.accuracies) == 5
    assert outcome.accuracy == outcome.accuracies[-1]
    assert len(set(outcome.accuracies)) > 1
    assert outcome.magnitudes is None


@pytest.mark.parametrize(("epochs", "measured"), [(0.5, 1), (1.5, 2)])
def test_accuracy_is_measured_at_the_end_of_begun_epochs_too(
    world: World, data: TrainingData, epochs: float, measured: int
) -> None:
    experiment = world.experiment(epochs=epochs)
    plan = plan_for(experiment.plan(), 3.0)
    assert plan.steps == int(epochs * TRAIN / experiment.batch_size)
    (outcome,) = train(experiment, [Head(plan, 64.0, "a", record_magnitudes=True)], data)
    assert len(outcome.accuracies) == measured
    assert outcome.magnitudes is not None
    assert len(outcome.magnitudes) == measured


def test_noise_is_added_once_a_step_to_each_head_as_planned(
    world: World, data: TrainingData, recorder: Recorder
) -> None:
    experiment = world.experiment()
    heads = heads_of(experiment)
    outcomes = train(experiment, heads, data, noise=recorder, physical_batch=5)
    plan = heads[0].plan
    expected = [(step, head.name) for step in range(plan.steps) for head in heads]
    assert [(step, name) for step, name, *_ in recorder.calls] == expected
    assert [std for *_, std, _ in recorder.calls[:3]] == [1.0, 0.5, pytest.approx(0.1)]
    assert all(total.shape == (CLASSES, 17) for *_, total in recorder.calls)
    assert {outcome.ledger.steps for outcome in outcomes} == {plan.steps}
    # Each of the sampled examples moves the sum by at most C.
    bounds = {head.name: TRAIN * head.plan.clip_norm for head in heads}
    assert all(float(total.norm()) <= bounds[name] for _, name, _, total in recorder.calls)


def test_an_empty_sample_is_a_step_of_noise_alone(world: World, data: TrainingData, recorder: Recorder) -> None:
    experiment = world.experiment(batch_size=1, epochs=1)
    plan = plan_for(experiment.plan())
    (outcome,) = train(experiment, [Head(plan, 1.0, "a")], data, noise=recorder)
    empty = [total for *_, total in recorder.calls if not total.any()]
    assert 0.2 < len(empty) / plan.steps < 0.55  # (1 - 1/N)^N is close to 1/e
    assert len(recorder.calls) == plan.steps == outcome.ledger.steps == TRAIN


def test_without_noise_and_clipping_it_is_plain_gradient_descent(world: World, data: TrainingData) -> None:
    """Against autograd: the whole batch at every step, one unaugmented view, momentum and weight decay."""
    experiment = world.experiment(
        k_base=1, k_self=0, k_diff=0, transforms=(), batch_size=TRAIN, epochs=6, synthetic=None, epsilon=float("inf")
    )
    plan = replace(plan_for(experiment.plan(), 0.0), clip_norm=1e6)
    head = Head(plan, 2.0, "a", momentum=0.5, weight_decay=0.01, record_magnitudes=True)
    (outcome,) = train(experiment, [head], data)

    features = Featurizer(blocks).of(data.private, "cpu")
    targets = one_hot(data.private.labels, CLASSES)
    weights = torch.zeros(CLASSES, features.shape[1], requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=2.0, momentum=0.5, weight_decay=0.01)
    expected = []
    for _ in range(plan.steps):
        residuals = torch.softmax(features @ weights.detach().T, dim=1) - targets
        expected.append((residuals[:, :, None] * features[:, None]).abs().mean(dim=0).flatten().numpy())
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(features @ weights.T, targets).backward()
        optimizer.step()
    np.testing.assert_allclose(outcome.magnitudes, expected, rtol=1e-4, atol=1e-6)
    assert outcome.accuracy > 90
    assert outcome.clipped == 0


def test_heads_that_do_not_sample_alike_are_refused(world: World, data: TrainingData) -> None:
    experiment = world.experiment()
    longer = plan_for(world.experiment(epochs=6).plan())
    with pytest.raises(PrivacyError, match="same sampling rate and steps"):
        train(experiment, [*heads_of(experiment), Head(longer, 1.0, "d")], data)
