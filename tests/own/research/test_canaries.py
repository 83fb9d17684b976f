"""Canaries: in the steps that sample one, the noisy sum is longer by C along its own direction, else by nothing."""

from typing import Any

import numpy as np
import pytest

from dpmix.own.choices.recipe import recipe
from dpmix.own.research.canaries import canaries, observe
from dpmix.params.settings import RunSettings
from dpmix.privacy.plan import Plan


def settings(population: int, unit: str = "image", **more: Any) -> dict[str, Any]:
    usual = recipe(population, 3, 4.0, unit)
    known = {name: getattr(usual, name) for name in RunSettings.model_fields if hasattr(usual, name)}
    return {"accountant": "pld", "epsilon": 4.0, "unit": unit, **known, **more}


@pytest.mark.parametrize(("unit", "clip_norm"), [("image", 0.5), ("person", 1.0)])
def test_a_canary_adds_c_along_its_own_direction_at_the_sampling_rate(unit: str, clip_norm: float) -> None:
    # Noise of a ten thousandth: what remains is what was sampled.
    plan = Plan(60, 20, 30, clip_norm, 1e-4, 1e-5, unit=unit)
    seen = observe(settings(60, unit, clip_norm=clip_norm, batch_size=20, k_self=2), plan, 3, 40)
    assert seen.inside.shape == seen.outside.shape == (30, 40)
    assert abs(seen.outside).max() < 1e-3
    sampled = seen.inside.round()
    assert set(np.unique(sampled)) == {0.0, 1.0}
    assert seen.inside == pytest.approx(sampled, abs=2e-3)
    # A binomial of 1,200 at 1/3, five standard deviations.
    assert abs(sampled.mean() - 1 / 3) < 5 * (2 / 9 / 1200) ** 0.5
    # Units are sampled independently: a step has no fixed number.
    assert len(np.unique(sampled.sum(axis=1))) > 3


def test_the_noise_along_a_direction_is_that_of_the_plan() -> None:
    plan = Plan(30, 10, 40, 2.0, 3.0, 1e-5)
    seen = observe(settings(30, clip_norm=2.0, batch_size=10), plan, 3, 30)
    # In units of C; 1,200 draws, five standard deviations.
    assert abs(seen.outside.std() / 3 - 1) < 5 / (2 * 1200) ** 0.5
    assert abs(np.corrcoef(seen.outside[:-1].ravel(), seen.outside[1:].ravel())[0, 1]) < 0.15


def test_a_run_holds_no_more_canaries_than_units_or_memory() -> None:
    assert canaries(Plan(300, 100, 10, 1.0, 1.0, 1e-5), 10, 4000) == 300
    assert canaries(Plan(50_000, 1000, 10, 1.0, 1.0, 1e-5), 10, 4000) == 4000
    assert 1 <= canaries(Plan(50_000, 1000, 5000, 1.0, 1.0, 1e-5), 1000, 4000) < 10
