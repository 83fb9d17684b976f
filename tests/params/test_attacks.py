"""Attacks that cannot be are refused by the key that is wrong."""

from typing import Any

import pytest
from pydantic import ValidationError

from dpmix.params.attacks import AttackSpec

RELEASED: dict[str, Any] = {
    "epsilon": 8, "delta": 1e-5, "noise_multiplier": 0.335, "sampling_rate": 0.03, "steps": 3400, "width": 11.25,
    "truncation": 100, "runs": 10,
}  # fmt: skip


def test_algorithm_1_is_what_is_attacked_unless_more_is_said() -> None:
    attack = AttackSpec(**RELEASED)
    assert (attack.momentum, attack.coordinates, attack.seed) == (0.0, "mixed", 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epsilon", 0), ("delta", 1), ("noise_multiplier", 0), ("sampling_rate", 1), ("steps", 16), ("width", 0),
        ("truncation", 0.5), ("momentum", 1), ("coordinates", "some"), ("runs", 0), ("seed", -1),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(key: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        AttackSpec(**{**RELEASED, key: value})
    assert [error["loc"] for error in caught.value.errors()] == [(key,)]
