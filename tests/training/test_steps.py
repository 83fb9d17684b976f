"""A run is DP-SGD step by step: its weights are those of torch.optim.SGD, fed with gradients that the test computes."""

from typing import Any

import pytest
import torch

from dpmix.training.heads import Head
from tests.training import reference
from tests.training.conftest import SYNTHETIC, World, plan_for

MICROBATCHES = {"microbatch_size": 2, "microbatch_mixup": "added", "k_base": 2, "k_self": 0}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"momentum": 0.8},
    "weight decay": {"weight_decay": 0.1},
    "both": {"momentum": 0.6, "weight_decay": 0.05},
    "AUTO-S": {"clipping": "auto-s", "momentum": 0.5},
    "per layer": {"clipping": "per-layer", "momentum": 0.5},
    "with D": {"k_diff": 2, "synthetic": SYNTHETIC, "mixup_pairs": "independent", "transforms": ("crop", "flip")},
    "two sets of views": {"view_sets": 2},
    "CutMix": {"mixing": "cutmix", "mixup_alpha": 0.8},
    "microbatches": {**MICROBATCHES, "momentum": 0.5, "weight_decay": 0.05},
    "microbatches, AUTO-S": {**MICROBATCHES, "microbatch_mixup": "alone", "clipping": "auto-s"},
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_a_network_takes_the_steps_of_sgd(world: World, changes: dict[str, Any]) -> None:
    # C is among the norms, and the noise as long as the sum of a few clipped gradients.
    run = reference.network(world.scratch(batch_size=20, clip_norm=3.0, **changes), 0.05)
    assert run.plan.steps == 9
    assert 0.05 < (run.expected.all_norms() > run.plan.clip_norm).mean() < 0.95
    reference.assert_same(run.trained, run.expected.weights[-1], run.expected.weights[0])


@pytest.mark.parametrize("clipping", ["flat", "auto-s", "per-layer"])
def test_each_head_takes_the_steps_of_sgd(world: World, clipping: str) -> None:
    experiment = world.experiment(batch_size=20, clipping=clipping)

    def plan(noise: float, clip_norm: float) -> Any:
        return plan_for(experiment.plan().model_copy(update={"clip_norm": clip_norm}), noise)

    heads = [
        Head(plan(0.5, 0.7), 4.0, "plain"),
        Head(plan(0.5, 0.7), 2.0, "momentum", momentum=0.9),
        Head(plan(1.0, 0.4), 4.0, "weight decay", weight_decay=0.02),
        Head(plan(0.2, 0.8), 3.0, "both", momentum=0.5, weight_decay=0.01),
    ]
    runs = reference.stream(experiment, heads)
    assert [run.plan.steps for run in runs] == [14] * 4
    for run in runs:
        assert 0.05 < (run.expected.all_norms() > run.plan.clip_norm).mean() < 0.95
        reference.assert_same(run.trained, run.expected.weights[-1], run.expected.weights[0])
        assert torch.equal(run.outcome.weights["shift"], reference.SHIFT)
        assert torch.equal(run.outcome.weights["scale"], reference.SCALE)
