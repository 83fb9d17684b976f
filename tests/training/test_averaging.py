"""The moving average of the weights is the one that is measured and kept."""

import pytest

from tests.training import reference
from tests.training.reference import Train


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
