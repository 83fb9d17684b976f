"""A plan of every kind comes back from its file as it was, and as no other kind."""

import json
import math

import pytest

from dpmix.errors import ParamsError
from dpmix.privacy.banded_plan import BandedPlan
from dpmix.privacy.fixed_order import FixedOrderPlan
from dpmix.privacy.model_mix_plan import ModelMixPlan
from dpmix.privacy.plan import Plan
from dpmix.privacy.plan_json import KINDS, plan_from_json

SIZES = {"population": 1000, "batch_size": 100, "steps": 62, "clip_norm": 0.5, "delta": 1e-5}
PLANS = [
    Plan(**SIZES, noise_multiplier=1.0),
    Plan(**SIZES, noise_multiplier=0.0),
    BandedPlan(**SIZES, noise_multiplier=1.0, target_epsilon=4.0, coefficients=(0.8, 0.5)),
    ModelMixPlan(**SIZES, noise_multiplier=1.0, mix_width=0.15, truncation=100.0),
    FixedOrderPlan(**SIZES, noise_multiplier=1.0, target_epsilon=8.5, nominal_epsilon=2.0),
    FixedOrderPlan(**SIZES, noise_multiplier=0.0, nominal_epsilon=math.inf),
]


def written(plan: Plan) -> dict:
    return json.loads(json.dumps(plan.to_json()))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{type(plan).__name__}-{plan.noise_multiplier:g}")
def test_plans_survive_json(plan: Plan) -> None:
    found = plan_from_json(written(plan))
    assert type(found) is type(plan)
    assert (found, hash(found)) == (plan, hash(plan))


def test_every_kind_of_plan_is_tried_and_told_from_all_others() -> None:
    assert {type(plan) for plan in PLANS} == {Plan, *KINDS.values()} == {Plan, *Plan.__subclasses__()}
    for plan in PLANS:
        named = [kind for name, kind in KINDS.items() if name in written(plan)]
        assert named == ([] if type(plan) is Plan else [type(plan)])


@pytest.mark.parametrize("field", KINDS)
def test_code_that_knows_nothing_of_a_kind_refuses_its_file(field: str) -> None:
    (plan, *_) = (plan for plan in PLANS if type(plan) is KINDS[field])
    with pytest.raises(ParamsError, match=f"unknown .*{field}"):
        Plan.from_json(written(plan))


def test_what_is_no_plan_is_refused() -> None:
    with pytest.raises(ParamsError, match="not a privacy plan"):
        plan_from_json({**written(PLANS[2]), "coefficients": ["much"]})
    with pytest.raises(ParamsError, match="not a privacy plan"):
        plan_from_json({"population": 3})
