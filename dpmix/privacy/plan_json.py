"""Plans of every kind, read back from their JSON."""

from collections.abc import Mapping
from typing import Any

from dpmix.privacy.banded_plan import BandedPlan
from dpmix.privacy.fixed_order import FixedOrderPlan
from dpmix.privacy.model_mix_plan import ModelMixPlan
from dpmix.privacy.plan import Plan

# By a field that no other kind has.
KINDS: dict[str, type[Plan]] = {
    "coefficients": BandedPlan,
    "mix_width": ModelMixPlan,
    "nominal_epsilon": FixedOrderPlan,
}


def plan_from_json(values: Mapping[str, Any]) -> Plan:
    """The `Plan`, or the plan of a kind below it, whose `to_json` gave these values.

    Raises:
        ParamsError: missing or unknown fields, or values that do not fit together.

    >>> plan = Plan.make(population=100, batch_size=10, epochs=2, clip_norm=1.0, noise_multiplier=2.0, delta=1e-3)
    >>> plan_from_json(plan.to_json()) == plan
    True
    """
    return next((kind for name, kind in KINDS.items() if name in values), Plan).from_json(values)
