"""The canonical form of view settings is what the views themselves are: equal where these are, and only there."""

import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpmix.artefacts.experiment import Experiment
from dpmix.data.images import Images
from dpmix.params.settings import OF_VIEWS
from dpmix.random import KeyedRandom
from dpmix.views.mixing import make_microbatch_views, make_views
from dpmix.views.settings import ViewSettings
from dpmix.views.transforms import TRANSFORMS
from tests.artefacts.test_experiment import NETWORK, experiment

SIDE, CLASSES = 6, 4

# So many examples that no two different draws agree for all of them.
EXAMPLES, UNITS = np.arange(40), np.arange(40).reshape(20, 2)


def images(count: int, seed: int) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 1, SIDE, SIDE)).astype(np.uint8)
    return Images(pixels, np.arange(count, dtype=np.int64) % CLASSES, tuple("abcd"))


PRIVATE, SYNTHETIC = images(40, 0), images(30, 1)


def made(spec: ViewSettings) -> bytes:
    """Every pixel and label of the views of every example."""
    if spec.microbatch_size > 1:
        views = make_microbatch_views(PRIVATE, UNITS, spec, seed=1, step=0)
    else:
        views = make_views(PRIVATE, EXAMPLES, spec, KeyedRandom(1, 0, EXAMPLES), SYNTHETIC)
    return str(tuple(views.images.shape)).encode() + views.images.numpy().tobytes() + views.targets.numpy().tobytes()


VALUES: dict[str, list[Any]] = {
    "k_base": [0, 1, 2],
    "k_diff": [0, 1, 2],
    "k_self": [0, 2],
    "alpha": [0.2, 0.9],
    "pairs": ["distinct", "independent"],
    "transforms": [
        (), ("crop",), ("flip",), ("crop", "flip"), ("flip", "crop"), ("noise",), ("noise", "flip"), ("flip", "noise"),
        ("cutout", "crop"), ("cutout", "noise"), ("noise", "cutout"),
    ],
    "padding": [0, 1, 2],
    "augment_synthetic": [True, False],
    "microbatch_size": [1, 2],
    "microbatch_mixup": ["none", "added", "alone"],
    "mixing": ["mixup", "cutmix"],
}  # fmt: skip


@st.composite
def any_settings(draw: st.DrawFn, **given: Any) -> ViewSettings:
    """Settings that fit together, with some of them given."""
    chosen = {name: given[name] if name in given else draw(st.sampled_from(VALUES[name])) for name in VALUES}
    if chosen["microbatch_size"] == 2:
        chosen |= {"k_self": 0, "k_diff": 0, "k_base": max(1, chosen["k_base"])}
    else:
        chosen["microbatch_mixup"] = "none"
    if chosen["k_base"] + chosen["k_diff"] == 0:
        chosen["k_base"] = 1
    if chosen["k_base"] + chosen["k_diff"] == 1 and chosen["k_self"]:
        chosen["pairs"] = "independent"
    return ViewSettings(**chosen)


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[ViewSettings, ViewSettings]:
    """Two settings that differ in a few fields."""
    one = draw(any_settings())
    free = set(draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3)))
    kept = {field.name: getattr(one, field.name) for field in fields(one) if field.name not in free}
    return one, draw(any_settings(**kept))


def run_of(spec: ViewSettings) -> Experiment:
    """An experiment with these views, and all else the same."""
    return experiment(model=NETWORK, **{field: getattr(spec, name) for field, name in OF_VIEWS.items()})


@given(neighbours())
@settings(max_examples=500)
def test_settings_are_equal_in_canonical_form_exactly_if_they_make_equal_views(
    pair: tuple[ViewSettings, ViewSettings],
) -> None:
    one, other = pair
    equal = made(one) == made(other)
    assert (one.canonical() == other.canonical()) == equal
    assert (run_of(one).hash == run_of(other).hash) == equal


@given(any_settings())
@settings(max_examples=200)
def test_the_canonical_form_makes_the_same_views_and_is_its_own(spec: ViewSettings) -> None:
    assert made(spec.canonical()) == made(spec)
    assert spec.canonical().canonical() == spec.canonical()
    assert run_of(spec).canonical().canonical() == run_of(spec).canonical()


SELF = ViewSettings(k_base=2, k_self=2, transforms=("crop",), padding=1)

DIFF = replace(SELF, k_diff=1)

MICRO = ViewSettings(k_base=1, microbatch_size=2, microbatch_mixup="added", transforms=("crop",), padding=1)


@pytest.mark.parametrize(
    ("spec", "name", "values", "matters"),
    [
        (SELF, "alpha", (0.2, 0.4), True),
        (MICRO, "alpha", (0.2, 0.4), True),  # once forgotten: microbatches mix although k_self is 0
        (MICRO, "mixing", ("mixup", "cutmix"), True),
        (replace(MICRO, microbatch_mixup="none"), "alpha", (0.2, 0.4), False),
        (replace(SELF, k_self=0), "alpha", (0.2, 0.4), False),
        (replace(SELF, k_self=0), "pairs", ("distinct", "independent"), False),
        (replace(SELF, k_self=0), "mixing", ("mixup", "cutmix"), False),  # once another path for nothing
        (MICRO, "pairs", ("distinct", "independent"), False),
        (ViewSettings(1, k_self=2, pairs="independent"), "alpha", (0.2, 0.4), False),  # a member with itself
        (SELF, "padding", (1, 2), True),
        (replace(SELF, transforms=("flip",)), "padding", (1, 2), False),
        (replace(SELF, padding=0), "transforms", (("flip",), ("crop", "flip")), False),
        (SELF, "transforms", (("crop", "noise"), ("noise", "crop")), False),  # pixels move before they change
        (SELF, "transforms", (("crop", "flip"), ("flip", "crop")), True),
        (DIFF, "augment_synthetic", (True, False), True),
        (SELF, "augment_synthetic", (True, False), False),
        (replace(DIFF, transforms=()), "augment_synthetic", (True, False), False),
        (ViewSettings(0, 2, augment_synthetic=False), "transforms", (("crop",), ("flip",)), False),
    ],
)
def test_what_matters_when(spec: ViewSettings, name: str, values: tuple[Any, Any], matters: bool) -> None:
    one, other = (replace(spec, **{name: value}) for value in values)
    assert (made(one) != made(other)) == matters
    assert (one.canonical() != other.canonical()) == matters
    assert (run_of(one).hash != run_of(other).hash) == matters


def test_every_setting_and_every_kind_of_transform_is_among_these() -> None:
    assert list(VALUES) == [field.name for field in fields(ViewSettings)]
    assert {name for names in VALUES["transforms"] for name in names} <= set(TRANSFORMS)
    assert set(OF_VIEWS.values()) == set(VALUES)


def test_settings_are_known_without_torch() -> None:
    """Experiments are named by them, by commands that compute nothing."""
    code = "import sys, dpmix.views.settings, dpmix.artefacts.experiment; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
