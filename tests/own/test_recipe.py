"""The recipe follows from N, keeps to the time that a run may take, and is a run that can be planned."""

import math
from dataclasses import asdict
from typing import Any

import pytest

from dpmix.errors import ParamsError
from dpmix.own.recipe import Recipe, default_delta, recipe
from dpmix.params.settings import RunSettings
from dpmix.privacy.plan import Plan
from dpmix.views.augmentation import check_transforms

# Views that two cores encode in a second, at 96 px with the default encoder.
A_SECOND = 300

SIZES = (1, 2, 30, 300, 1_000, 2_000, 10_000, 50_000, 1_000_000)


def planned(population: int) -> Plan:
    usual = recipe(population, 10, 4.0)
    return Plan.make(
        population=population, batch_size=usual.batch_size, epochs=usual.epochs, clip_norm=usual.clip_norm,
        noise_multiplier=1.0, delta=usual.delta,
    )  # fmt: skip


@pytest.mark.parametrize(("population", "minutes"), [(1_000, 2.5), (2_000, 2.5), (10_000, 9.0)])
def test_what_is_encoded_fits_the_time(population: int, minutes: float) -> None:
    assert recipe(population, 10, 4.0).encoded(population) / A_SECOND <= 60 * minutes


@pytest.mark.parametrize("population", SIZES)
def test_any_population_can_be_planned(population: int) -> None:
    plan = planned(population)
    assert plan.batch_size <= population
    assert plan.steps >= 27
    assert plan.delta < 1 / population
    assert plan.delta <= 1e-5


def test_more_images_lower_the_rate_but_not_the_batch() -> None:
    plans = [planned(population) for population in SIZES]
    assert [plan.batch_size for plan in plans] == sorted(plan.batch_size for plan in plans)
    assert [plan.sampling_rate for plan in plans] == sorted((plan.sampling_rate for plan in plans), reverse=True)


def test_delta_is_the_largest_power_of_ten_below_one_of_the_population() -> None:
    for population in (1, 9, 10, 99_999, 100_000, 100_001, 999_999, 1_000_000):
        delta = default_delta(population)
        assert math.log10(delta) == round(math.log10(delta))
        assert delta < 1 / population
        assert delta == 1e-5 or 10 * delta * population >= 1 - 1e-9


def test_its_names_are_those_of_settings() -> None:
    usual = recipe(2_000, 2, 4.0)
    assert set(asdict(usual)) - set(RunSettings.model_fields) == {"method"}
    assert check_transforms(usual.transforms) == usual.transforms
    # A mixture is of two different views of the same image.
    assert usual.k_base >= 2
    assert usual.k_self >= 1


def test_no_view_is_mirrored() -> None:
    assert "flip" not in recipe(2_000, 2, 4.0).transforms


@pytest.mark.parametrize("unit", ["image", "person"])
def test_it_is_the_same_for_either_unit(unit: str) -> None:
    assert recipe(2_000, 2, 4.0, unit) == recipe(2_000, 2, 4.0)


def test_a_crop_moves_an_image_by_a_sixteenth() -> None:
    paddings = [recipe(2_000, 2, 4.0, side=side).padding for side in (8, 16, 96, 224)]
    assert paddings == [1, 1, 6, 14]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"population": 0}, "published number"),
        ({"classes": 1}, "two classes"),
        ({"epsilon": 0.0}, "above 0"),
        ({"epsilon": math.nan}, "above 0"),
        ({"unit": "persons"}, "image or person"),
    ],
)
def test_mistakes_are_one_line(arguments: dict[str, Any], match: str) -> None:
    usual: dict[str, Any] = {"population": 1000, "classes": 10, "epsilon": 4.0, "unit": "image"}
    with pytest.raises(ParamsError, match=match):
        recipe(**{**usual, **arguments})
    assert isinstance(recipe(**usual), Recipe)
