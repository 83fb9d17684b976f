"""Plans are files of their own, shared by runs with the same target."""

import pytest

from dpmix.artefacts.plan_file import PlanFile
from tests.artefacts.test_experiment import experiment


@pytest.mark.parametrize("field", sorted(set(PlanFile.model_fields) - {"accountant"}))
def test_every_field_of_a_plan_matters(field: str) -> None:
    plan = experiment().plan()
    assert plan.model_copy(update={field: 7}).path("demo") != plan.path("demo")
    assert isinstance(plan, PlanFile)


def test_equal_noise_is_calibrated_once() -> None:
    assert experiment(seed=2, k_self=0, learning_rate=8.0).plan() == experiment().plan()
