"""The recipe follows from N, keeps to the time that a run may take, and is a run that can be planned."""

import math
from dataclasses import asdict, replace
from fractions import Fraction
from typing import Any

import pytest

from dpmix.errors import ParamsError
from dpmix.own.choices.recipe import Recipe, default_delta, recipe
from dpmix.params.settings import RunSettings
from dpmix.privacy.plan import Plan
from dpmix.views.augmentation import check_transforms
from dpmix.views.sets import encoded_ahead

# Views that two cores encode in a second, at 96 px with the default encoder.
A_SECOND = 300

SIZES = (1, 2, 30, 300, 1_000, 2_000, 10_000, 50_000, 1_000_000)


def planned(population: int) -> Plan:
    usual = recipe(population, 10, 4.0)
    return Plan.make(
        population=population, batch_size=usual.batch_size, epochs=usual.epochs, clip_norm=usual.clip_norm,
        noise_multiplier=1.0, delta=usual.delta,
    )  # fmt: skip


@pytest.mark.parametrize(("population", "minutes"), [(1_000, 0.3), (2_000, 0.5), (10_000, 2.5), (50_000, 12.0)])
def test_what_is_encoded_fits_the_time(population: int, minutes: float) -> None:
    assert recipe(population, 10, 4.0).encoded(population) / A_SECOND <= 60 * minutes


@pytest.mark.parametrize("population", SIZES)
def test_any_population_can_be_planned(population: int) -> None:
    plan = planned(population)
    assert plan.batch_size <= population
    assert plan.steps >= 25
    assert plan.delta <= 0.1 / population * (1 + 1e-12)
    assert plan.delta <= 1e-5


def test_a_quarter_of_the_units_is_in_each_of_100_steps() -> None:
    plans = [planned(population) for population in (300, 2_000, 10_000, 1_000_000)]
    assert [(plan.sampling_rate, plan.steps) for plan in plans] == [(0.25, 100)] * 4
    assert {planned(population).steps for population in range(304, 3_000)} == {100}


def test_of_a_few_units_there_are_more_steps_and_never_fewer() -> None:
    steps = {population: planned(population).steps for population in range(4, 304)}
    assert min(steps.values()) == 100
    assert (steps[4], steps[5], steps[303]) == (100, 125, 101)
    assert max(steps.values()) == steps[7] == 175


@pytest.mark.parametrize("epsilon", [1.0, 4.0])
def test_noise_hardly_depends_on_how_a_run_is_cut_into_steps(epsilon: float) -> None:
    """Of a sum over all steps, in units of N: within 8 % of steps on all units, and less than with B = 8 √N."""
    size = 10_000
    usual = recipe(size, 10, epsilon)

    def noise(batch_size: int, epochs: int) -> float:
        plan = Plan.calibrated(
            population=size, batch_size=batch_size, epochs=epochs, clip_norm=1.0, epsilon=epsilon, delta=usual.delta
        )
        return plan.noise_multiplier / plan.steps**0.5 / plan.sampling_rate

    ours = noise(usual.batch_size, usual.epochs)
    assert noise(size, usual.epochs) < ours < 1.08 * noise(size, usual.epochs)
    assert noise(800, 4) > 1.1 * ours


def test_views_are_encoded_once_and_of_persons_show_more_of_their_images() -> None:
    images, persons = recipe(2_000, 2, 4.0), recipe(2_000, 2, 4.0, "person")
    assert images.encoded(2_000) == 2_000 * images.views
    assert persons.view_sets > 1 == images.view_sets
    assert persons.encoded(2_000) == persons.view_sets * images.encoded(2_000)
    assert encoded_ahead(0.25, 100, persons.view_sets)


def test_delta_is_the_largest_power_of_ten_that_is_at_most_a_tenth_of_one_of_the_population() -> None:
    for population in (1, 9, 10, 9_999, 10_000, 10_001, 50_000, 99_999, 100_000, 100_001, 999_999, 1_000_000):
        power = Fraction(str(default_delta(population)))
        assert power in [Fraction(1, 10**k) for k in range(5, 9)]
        assert 10 * power * population <= 1
        assert power == Fraction(1, 10**5) or 100 * power * population > 1


def test_its_names_are_those_of_settings() -> None:
    usual = recipe(2_000, 2, 4.0)
    assert set(asdict(usual)) - set(RunSettings.model_fields) == {"method"}
    assert check_transforms(usual.transforms) == usual.transforms
    # A mixture is of two different views of the same image.
    assert usual.k_base >= 2
    assert usual.k_self >= 1


def test_no_view_is_mirrored() -> None:
    assert "flip" not in recipe(2_000, 2, 4.0).transforms


def test_all_else_is_the_same_for_either_unit() -> None:
    images, persons = recipe(2_000, 2, 4.0), recipe(2_000, 2, 4.0, "person")
    assert replace(persons, view_sets=images.view_sets) == images


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
