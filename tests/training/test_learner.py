"""What a research run counts beside training: the share clipped, and gradients' magnitudes."""

from itertools import pairwise

import numpy as np
import pytest

from dpmix.training.heads import Head
from tests.training import reference
from tests.training.conftest import World, plan_for
from tests.training.reference import Train


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
