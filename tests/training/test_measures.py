"""What a run says of itself: accuracies, the average that is kept, the share clipped, gradients' magnitudes.

Accuracies of networks, whichever engine classifies, are those of `training.network`.
"""

import copy

import torch

from dpmix.training.data import load_data
from dpmix.training.scratch import evaluate
from tests.training import reference
from tests.training.conftest import CLASSES, PIXELS, World
from tests.training.reference import Train


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
