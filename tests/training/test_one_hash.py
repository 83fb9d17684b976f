"""Runs of one hash leave one result: what a hash leaves out does not matter."""

import math
from typing import Any

import pytest

from dpmix.artefacts.experiment import Experiment
from dpmix.seals import read_record
from dpmix.training.runner import make
from tests.training.conftest import ENCODER, SYNTHETIC, World

pytestmark = pytest.mark.filterwarnings("ignore")


# Its features are not standardised by D.
PLAIN = ENCODER.model_copy(update={"standardize": "none"})


def left(run: Experiment) -> dict[str, Any]:
    """What a run leaves, made anew, without the words of its specification and its clock."""
    run.path("demo").unlink(missing_ok=True)
    make([run], "demo")
    return {name: value for name, value in read_record(run.path("demo")).items() if name not in ("experiment", "times")}


@pytest.mark.parametrize(
    ("common", "changes"),
    [
        ({}, {"clipping": "per-layer"}),
        ({"epsilon": math.inf}, {"accountant": "pld"}),
        ({"k_diff": 0}, {"mix_with": "S2"}),
        ({"k_diff": 0}, {"augment_synthetic": False}),
        ({"k_self": 0}, {"mixup_alpha": 0.9, "mixup_pairs": "independent", "mixing": "cutmix"}),
        ({"transforms": ("flip",)}, {"padding": 2}),
        ({"padding": 0}, {"transforms": ()}),
        ({"mix_with": "S2", "subset": "S1", "model": PLAIN, "synthetic": None}, {"synthetic": SYNTHETIC}),
    ],
)
def test_heads_of_one_hash_are_one(world: World, common: dict[str, Any], changes: dict[str, Any]) -> None:
    one, other = world.experiment(**common), world.experiment(**{**common, **changes})
    assert one.path("demo") == other.path("demo")
    assert one.canonical() == other.canonical() or common == {"epsilon": math.inf}
    assert left(one) == left(other)


@pytest.mark.parametrize(
    ("common", "changes"),
    [
        ({"k_self": 0, "microbatch_size": 2}, {"mixing": "cutmix", "mixup_alpha": 0.9, "augment_synthetic": False}),
        ({}, {"synthetic": SYNTHETIC, "mix_with": "S2"}),
    ],
)
def test_networks_of_one_hash_are_one(world: World, common: dict[str, Any], changes: dict[str, Any]) -> None:
    one, other = world.scratch(**common), world.scratch(**common, **changes)
    assert one.path("demo") == other.path("demo")
    assert left(one) == left(other)


def test_microbatches_that_mix_are_hashed_by_how(world: World) -> None:
    """Their k_self is 0, and still α and CutMix matter."""
    mixed = {"k_self": 0, "microbatch_size": 2, "microbatch_mixup": "alone", "learning_rate": 2.0}
    made = [world.scratch(**mixed, **how) for how in ({}, {"mixup_alpha": 1.0}, {"mixing": "cutmix"})]
    assert len({run.path("demo") for run in made}) == 3
    assert len({str(left(run)["clipped"]) + str(left(run)["accuracy_by_epoch"]) for run in made}) == 3
