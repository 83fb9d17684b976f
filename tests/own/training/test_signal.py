"""The signal of a plan grows with images and ε, shrinks with classes, and is put into words."""

import math
from dataclasses import replace

import pytest

from dpmix.errors import ParamsError
from dpmix.own.training.signal import WORDS, signal
from dpmix.privacy.plan import Plan

PLAN = Plan(1000, batch_size=500, steps=25, clip_norm=1.0, noise_multiplier=2.0, delta=1e-5)


def test_it_is_the_ratio_of_the_module() -> None:
    assert signal(PLAN, classes=10).ratio == pytest.approx(500 * 5 / (2.0 * 10))
    # In units of C; with microbatches the noise is twice σ C, and a unit is two examples.
    assert signal(replace(PLAN, clip_norm=0.1), classes=10).ratio == pytest.approx(125)
    assert signal(replace(PLAN, microbatch_size=2), classes=10).ratio == pytest.approx(125 / 4)


def test_it_grows_with_epsilon_and_images_and_shrinks_with_classes() -> None:
    def ratio(population: int, epsilon: float, classes: int) -> float:
        plan = Plan.calibrated(
            population=population, batch_size=population // 4, epochs=5, clip_norm=1.0, epsilon=epsilon, delta=1e-5
        )
        return signal(plan, classes=classes).ratio

    assert ratio(1000, 1, 10) < ratio(1000, 4, 10) < ratio(4000, 4, 10) < ratio(4000, 4, 2)


def test_every_ratio_has_words_and_the_lower_half_a_remedy() -> None:
    said = []
    for noise in (0.5, 2.0, 5.0, 20.0, 1000.0):
        found = signal(replace(PLAN, noise_multiplier=noise), classes=10)
        said.append(found.words.split(":")[0])
        assert ("larger epsilon" in found.words) == found.small == (found.ratio < 90)
        assert found.sentence == f"signal of the images against the noise: {found.words}"
    assert said == [words.split(":")[0] for _, words in WORDS]


def test_without_noise_all_of_it_is_left() -> None:
    assert signal(replace(PLAN, noise_multiplier=0.0), classes=10).ratio == math.inf


def test_one_class_is_refused() -> None:
    with pytest.raises(ParamsError, match="two classes"):
        signal(PLAN, classes=1)
