"""Plans are files of their own, shared by runs with the same target."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from dpmix.artefacts.plan_file import PlanFile
from dpmix.privacy.accounting import epsilon
from dpmix.privacy.model_mix_plan import ModelMixPlan
from tests.artefacts.test_experiment import NETWORK, experiment


@pytest.mark.parametrize("field", sorted(set(PlanFile.model_fields) - {"accountant"}))
def test_every_field_of_a_plan_matters(field: str) -> None:
    plan = experiment().plan()
    assert plan.model_copy(update={field: 7}).path("demo") != plan.path("demo")
    assert isinstance(plan, PlanFile)


def test_equal_noise_is_calibrated_once() -> None:
    assert experiment(seed=2, k_self=0, learning_rate=8.0).plan() == experiment().plan()


MIXED = {"model": NETWORK, "clipping": "coordinates", "mix_width": 0.5, "epsilon": 8.0}


def test_noise_may_be_what_the_accountant_asks_for_although_mixing_is_worth_more() -> None:
    least = experiment(**MIXED, update="model-mix").plan().calibrated()
    more = experiment(**MIXED, update="model-mix", calibration="accountant").plan().calibrated()
    plain = experiment(epsilon=8.0).plan().calibrated()
    assert isinstance(more, ModelMixPlan)
    assert more.width == least.width
    assert least.noise_multiplier < more.noise_multiplier == plain.noise_multiplier


@pytest.mark.parametrize("clipping", ["coordinates", "flat"])
def test_noise_may_have_the_variance_of_noise_and_mixing_together(clipping: str) -> None:
    mixed = experiment(**{**MIXED, "clipping": clipping}, update="model-mix").plan().calibrated()
    run = experiment(**{**MIXED, "clipping": clipping}, calibration="matched")
    plan = run.plan().calibrated()
    assert not isinstance(plan, ModelMixPlan)
    assert isinstance(mixed, ModelMixPlan)
    # The sum of a normal and a uniform variable, whose variance is width² / 12.
    assert plan.noise_multiplier**2 == pytest.approx(mixed.noise_multiplier**2 + mixed.width**2 / 12)
    how = {"sampling_rate": plan.sampling_rate, "steps": plan.steps, "delta": plan.delta}
    spent = epsilon("rdp", noise_multiplier=plan.noise_multiplier, **how)
    assert spent < 8 == plan.target_epsilon
    assert run.plan().difference(plan) is None
    assert experiment(**{**MIXED, "clipping": clipping, "mix_width": 0.25}, calibration="matched").hash != run.hash


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"calibration": "accountant"}, "calibration: accountant is for update: model-mix"),
        ({"calibration": "matched", "update": "model-mix", "model": NETWORK}, "matched is for update: sgd"),
        ({"calibration": "matched", "bands": 2}, "matched is for update: sgd with a finite epsilon, bands: 1"),
        ({"calibration": "matched", "epsilon": math.inf}, "matched is for update: sgd with a finite epsilon"),
    ],
)
def test_calibrations_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        experiment(**changes)
