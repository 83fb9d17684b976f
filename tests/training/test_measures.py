"""What a run says of itself: accuracies, the average that is kept, the share clipped, gradients' magnitudes."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from dpmix.training.data import load_data
from dpmix.training.heads import Head
from dpmix.training.scratch import evaluate
from tests.training import reference
from tests.training.conftest import CLASSES, PIXELS, World, plan_for
from tests.training.reference import Followed

Train = Callable[..., Followed]


@pytest.fixture(params=["network", "head"])
def train(world: World, request: pytest.FixtureRequest) -> Train:
    """One model trained for nine steps in four epochs; noisy enough that no epoch is like another."""

    def network(compare: bool = False, **changes: Any) -> Followed:
        return reference.network(world.scratch(batch_size=40, clip_norm=3.0, epochs=4, **changes), 0.3, compare)

    def head(compare: bool = False, **changes: Any) -> Followed:
        experiment = world.experiment(batch_size=40, clip_norm=0.5, epochs=4, **changes)
        plan = plan_for(experiment.plan(), 20.0)
        another = Head(plan, 0.5, "another", momentum=0.3, record_magnitudes=True)
        wanted = Head(plan, 4.0, "wanted", momentum=0.5, record_magnitudes=True)
        return reference.stream(experiment, [another, wanted])[1]

    return network if request.param == "network" else head


def test_each_epoch_is_measured_with_its_own_weights(train: Train) -> None:
    run = train()
    assert run.plan.steps == 9
    assert run.outcome.accuracies == run.accuracies(run.expected.weights)
    assert len(set(run.outcome.accuracies)) > 2
    assert run.outcome.accuracy == run.outcome.accuracies[-1]
    reference.assert_same(run.trained, run.expected.weights[-1], run.expected.weights[0])


def test_a_network_is_measured_in_eval_mode(world: World) -> None:
    data = load_data(world.scratch(), "demo")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.9), torch.nn.Linear(3 * PIXELS**2, CLASSES))
    weights = dict(model.state_dict())
    expected = reference.accuracy(
        copy.deepcopy(model).eval(), {n: v.double() for n, v in weights.items()}, data.evaluation
    )
    for training in (True, False):
        assert evaluate(model.train(training), weights, data, "cpu") == expected
        assert [module.training for module in model.modules()] == [training] * 4


@pytest.mark.parametrize("decay", [0.25, 0.9])
def test_the_average_is_measured_and_kept(train: Train, decay: float) -> None:
    # 0.25 is reached in the third step; 0.9 never.
    run = train(ema_decay=decay)
    averages = reference.averages(run.expected.weights, decay)
    reference.assert_same(run.trained, averages[-1], averages[0])
    assert run.outcome.accuracies == run.accuracies(averages)
    assert run.outcome.accuracies != run.accuracies(run.expected.weights)
    # The steps themselves do not know of it: `its own sums led to the same weights.
    plain = train()
    reference.assert_same(plain.trained, run.expected.weights[-1], run.expected.weights[0])


@pytest.mark.parametrize("clipping", ["flat", "auto-s"])
def test_the_share_that_was_clipped(train: Train, clipping: str) -> None:
    run = train(compare=True, clipping=clipping)
    norms = run.expected.all_norms()
    assert np.abs(norms / run.plan.clip_norm - 1).min() > 1e-5, "another seed, or rounding decides"
    longer = int((norms > run.plan.clip_norm).sum())
    assert 0 < longer < len(norms)
    assert run.outcome.clipped == round(longer / len(norms), 6)


def test_magnitudes_are_means_over_the_examples_of_an_epoch(world: World) -> None:
    experiment = world.experiment(batch_size=20, clip_norm=0.5)
    plan = plan_for(experiment.plan(), 1.0)
    heads = [
        Head(plan, 4.0, "a", record_magnitudes=True),
        Head(plan, 4.0, "b"),
        Head(plan, 2.0, "c", momentum=0.8, record_magnitudes=True),
    ]
    runs = reference.stream(experiment, heads)
    ends = [0, 4, 9, 14]
    assert plan.steps == ends[-1]
    for run in (runs[0], runs[2]):
        expected = []
        for start, end in pairwise(ends):
            sums = [
                np.concatenate([step["weight"].numpy(), step["bias"].numpy()[:, None]], axis=1)
                for step in run.expected.magnitudes[start:end]
            ]
            count = sum(map(len, run.expected.norms[start:end]))
            expected.append(np.sum(sums, axis=0).flatten() / count)
        assert run.outcome.magnitudes is not None
        np.testing.assert_allclose(run.outcome.magnitudes, expected, rtol=1e-4, atol=1e-7)
    assert runs[1].outcome.magnitudes is None
