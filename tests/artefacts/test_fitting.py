"""Each check of an experiment finds what it is for, before any other does, and says what to set instead."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from dpmix.artefacts.experiment import Selection
from dpmix.artefacts.fitting import CHECKS
from tests.artefacts.test_experiment import DATASET, NETWORK, experiment

NONE = {"k_self": 0, "k_diff": 0}
SCRATCH = {"model": NETWORK, **NONE}
# By check, changes of a sound experiment.
CASES: dict[str, dict[str, Any]] = {
    "_views": {"k_base": 0, **NONE},
    "_published_number": {"dataset": DATASET.model_copy(update={"train": None, "persons": 200})},
    "_all_persons_one_by_one": {
        "unit": "person", "dataset": DATASET.model_copy(update={"persons": 200}), "subset": "S1",
    },
    "_batch_in_population": {"batch_size": 201},
    "_bands_without_microbatches": {"bands": 2, "microbatch_size": 2, **SCRATCH},
    "_fixed_order_is_plain": {"batches": "fixed-order", "bands": 2},
    "_batch_in_band": {"bands": 5},
    "_model_mix_from_scratch": {"update": "model-mix"},
    "_model_mix_of_single_examples": {"update": "model-mix", "bands": 2, **SCRATCH},
    "_calibration_by_accountant": {"calibration": "accountant"},
    "_calibration_matched": {"calibration": "matched", "epsilon": math.inf},
    "_transforms_are_known": {"transforms": ("crops",)},
    "_synthetic_set_is_named": {"synthetic": None},
    "_enough_to_mix_in": {"k_diff": 101},
    "_other_half_is_not_trained_on": {"mix_with": "S2"},
    "_microbatches_from_scratch": {"microbatch_size": 2, **NONE},
    "_view_sets_of_examples": {"view_sets": 2, "microbatch_size": 2, **SCRATCH},
    "_precision_from_scratch": {"precision": "bfloat16"},
    "_jax_can_do_it": {"engine": "jax", **SCRATCH, "precision": "bfloat16"},
    "_rate_from_scratch_is_given": SCRATCH,
    "_may_be_released": {"release": True, "holdout": 0.1},
    "_pretraining_of_heads": {"pretrain_epochs": 1, **SCRATCH},
}  # fmt: skip


def test_a_fixed_order_takes_whole_epochs() -> None:
    whole = experiment(batches="fixed-order", epochs=2.0)
    with pytest.raises(ValidationError, match=r"take whole epochs, not 1\.5; give a whole number"):
        experiment(batches="fixed-order", epochs=1.5)
    assert whole == experiment(batches="fixed-order", epochs=2)


def test_every_check_has_a_case_here() -> None:
    assert [check.__name__ for check in CHECKS] == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_check_is_the_first_to_find_what_it_is_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = dict(CASES[name])
    if name == "_rate_from_scratch_is_given":
        changes["learning_rate"] = Selection(experiment=experiment(learning_rate=None), learning_rates=(0.1, 0.2))
    with pytest.raises(ValidationError) as caught:
        experiment(**changes)
    said = str(caught.value.errors()[0]["msg"])
    (check,) = [one for one in CHECKS if one.__name__ == name]
    monkeypatch.setattr("dpmix.artefacts.fitting.CHECKS", ())
    made = experiment(**changes)
    why = check(made)
    assert why is not None
    assert said == f"Value error, shapes, {made.model.name}, dp-mix-diff: {why}"
    assert len(why.splitlines()) == 1
    # With what to do about it.
    assert "; " in why
    assert [one.__name__ for one in CHECKS if one(experiment())] == []
