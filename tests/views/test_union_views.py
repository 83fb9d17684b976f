"""Out of the union each method has its own views to the last bit, and no picture is made twice."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpmix.data.persons import Persons
from dpmix.random import KeyedRandom
from dpmix.views.mixing import Views, make_views
from dpmix.views.person_views import make_person_views
from dpmix.views.settings import ViewSettings
from dpmix.views.union import ViewUnion, Wanted
from dpmix.views.union_views import make_union_views
from tests.needs import GPU, needs
from tests.views.small_sets import PRIVATE, SYNTHETIC, images, view_settings

SETS = {"D": SYNTHETIC, "S2": images(9, seed=2)}
UNITS = np.array([3, 7, 8, 20])
MOVES = {"transforms": ("crop", "flip"), "padding": 1}
# Methods of the paper's tables, with fewer views.
PLAIN = Wanted(ViewSettings(1))
SELF_AUG = Wanted(ViewSettings(4, **MOVES))
MIX_SELF = Wanted(ViewSettings(4, k_self=4, **MOVES))
MIX_DIFF = Wanted(ViewSettings(4, k_diff=2, k_self=6, **MOVES), "D")
WITH_S2 = replace(MIX_DIFF, source="S2")
PURE = Wanted(ViewSettings(0, k_diff=4, k_self=4, **MOVES), "D")


def union_of(wanted: Sequence[Wanted], units: np.ndarray = UNITS) -> tuple[list[torch.Tensor], list[Views], int]:
    """Of each method its views out of the union and by itself, and how many pictures the union has."""
    random = KeyedRandom(1, 5, units)
    made = make_union_views(PRIVATE, units, ViewUnion.of(wanted), random, SETS)
    pictures = torch.cat(list(made.parts))
    alone = [make_views(PRIVATE, units, one.settings, random, SETS.get(one.source or "")) for one in wanted]
    for rows, targets, own in zip(made.rows, made.targets, alone, strict=True):
        assert torch.equal(pictures[rows], own.images)
        assert torch.equal(targets, own.targets)
    return [pictures[rows] for rows in made.rows], alone, len(pictures)


def unmixed(spec: ViewSettings) -> ViewSettings:
    return replace(spec, mixing="unmixed") if spec.k_base + spec.k_diff > 1 else spec


@given(
    st.lists(
        st.builds(
            Wanted,
            view_settings(("mixup", "cutmix")) | view_settings().map(unmixed),
            st.sampled_from(sorted(SETS)),
        ),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(0, 49), min_size=1, max_size=5, unique=True),
)
@settings(max_examples=150)
def test_every_method_has_its_own_views_to_the_last_bit(wanted: list[Wanted], indices: list[int]) -> None:
    _, alone, made = union_of(wanted, np.array(indices))
    assert made <= sum(own.images.shape[0] * own.images.shape[1] for own in alone)


@pytest.mark.parametrize(
    ("wanted", "views"),
    [
        ([SELF_AUG], 4),
        ([SELF_AUG, SELF_AUG], 4),
        ([SELF_AUG, MIX_SELF], 4 + 4),  # Self-Aug is a part of DP-Mix_Self
        ([PLAIN, SELF_AUG], 1 + 4),  # an image as it is, and its crops
        ([MIX_SELF, Wanted(replace(MIX_SELF.settings, k_self=9))], 4 + 9),  # the first four of nine
        ([MIX_DIFF, Wanted(replace(MIX_DIFF.settings, mixing="unmixed"), "D")], 4 + 2 + 6),  # copies cost nothing
        ([Wanted(replace(MIX_SELF.settings, alpha=0.4)), MIX_SELF], 4 + 4 + 4),  # other weights
        # Of 6 · 5 ordered pairs of members, 4 · 3 are of base views, which both have.
        ([MIX_DIFF, WITH_S2], 4 + 2 + 2 + 6 * (2 - 12 / 30)),
        ([WITH_S2, PURE], 4 + 2 + 4 + 6 + 4),
    ],
)
def test_as_many_are_made_as_are_different(wanted: list[Wanted], views: float) -> None:
    assert ViewUnion.of(wanted).views == pytest.approx(views)
    units = np.arange(50)
    _, _, made = union_of(wanted, units)
    assert made / len(units) == pytest.approx(views, rel=0.03)
    if views == int(views):
        assert made == views * len(units)


def test_no_picture_is_made_twice() -> None:
    """Whatever is in common is found, also by methods of different |S|. (Two crops may be the same picture, and two
    mixtures of the same member with a weight of nearly 1.)
    """
    plain = {"alpha": 1.0, "transforms": ("noise",)}
    wanted = [Wanted(ViewSettings(base, diff, 8, **plain), "D") for base in (2, 3, 4) for diff in (0, 2)]  # type: ignore[arg-type]
    made = make_union_views(PRIVATE, UNITS, ViewUnion.of(wanted), KeyedRandom(1, 5, UNITS), SETS)
    members, *mixtures = made.parts
    for part in (members, torch.cat(mixtures)):
        assert len({picture.numpy().tobytes() for picture in part}) == len(part)


@pytest.mark.parametrize("pairs", ["distinct", "independent"])
def test_the_expected_number_is_the_mean(pairs: str) -> None:
    """Table 9's kind of union, in which |S| differs and the j-th mixtures coincide by chance."""
    wanted = [
        Wanted(ViewSettings(base, diff, 6, pairs=pairs), "D")  # type: ignore[arg-type]
        for base in (3, 4, 6)
        for diff in (0, 2)
    ]
    union, counts = ViewUnion.of(wanted), []
    for step in range(40):
        units = np.arange(50)
        random = KeyedRandom(1, step, units)
        counts.append(sum(map(len, make_union_views(PRIVATE, units, union, random, SETS).parts)) / 50)
    error = float(np.std(counts)) / len(counts) ** 0.5
    assert union.views == pytest.approx(np.mean(counts), abs=5 * error)
    assert union.views < union.columns + 6 * len(wanted) - 1
    assert error < 0.1


@needs(GPU, torch.cuda.is_available())
def test_on_a_gpu_they_are_the_views_that_it_makes_of_one_method() -> None:
    wanted = [SELF_AUG, MIX_SELF, MIX_DIFF, WITH_S2, Wanted(replace(MIX_SELF.settings, mixing="cutmix"))]
    random = KeyedRandom(1, 5, UNITS)
    made = make_union_views(PRIVATE, UNITS, ViewUnion.of(wanted), random, SETS, "cuda")
    pictures = torch.cat(list(made.parts))
    for one, rows, targets in zip(wanted, made.rows, made.targets, strict=True):
        own = make_views(PRIVATE, UNITS, one.settings, random, SETS.get(one.source or ""), "cuda")
        assert torch.equal(pictures[rows], own.images)
        torch.testing.assert_close(targets, own.targets)


def test_persons_share_what_shows_the_same_images() -> None:
    owners = np.random.default_rng(0).integers(0, 6, len(PRIVATE))
    persons, units = Persons.of(owners, 6), np.arange(6)
    wanted = [SELF_AUG, MIX_SELF, MIX_DIFF, Wanted(ViewSettings(3, k_self=2, **MOVES)), PURE]
    union, random = ViewUnion.of(wanted, by_person=True), KeyedRandom(1, 5, units)
    made = make_union_views(PRIVATE, units, union, random, SETS, persons=persons)
    pictures = torch.cat(list(made.parts))
    for one, rows, targets in zip(wanted, made.rows, made.targets, strict=True):
        own = make_person_views(PRIVATE, persons, units, one.settings, random, SYNTHETIC)
        assert torch.equal(pictures[rows], own.images)
        assert torch.equal(targets, own.targets)
    # With three base views they may show other images of a person than with four.
    assert union.columns == 4 + 3 + 2 + 4
    with pytest.raises(ValueError, match="views by person need the persons"):
        make_union_views(PRIVATE, units, union, random, SETS)


# What the keys make coincide, on the views themselves -----------------------------------------------------------------
def both(first: ViewSettings, second: ViewSettings) -> tuple[Views, Views]:
    units = np.arange(50)
    one, other = (make_views(PRIVATE, units, s, KeyedRandom(1, 5, units), SYNTHETIC) for s in (first, second))
    return one, other


@pytest.mark.parametrize("transforms", [("crop", "flip"), ("crop", "jitter"), ("affine",), ("cutout",), ("noise",)])
def test_fewer_base_views_are_the_first_of_more(transforms: tuple[str, ...]) -> None:
    one, five, eight = (
        make_views(PRIVATE, UNITS, ViewSettings(k_base, transforms=transforms, padding=1), KeyedRandom(1, 5, UNITS))
        for k_base in (1, 5, 8)
    )
    assert torch.equal(one.images, eight.images[:, :1])
    assert torch.equal(five.images, eight.images[:, :5])


@pytest.mark.parametrize("mixing", ["mixup", "cutmix", "unmixed"])
def test_fewer_mixtures_of_the_same_s_are_the_first_of_more(mixing: str) -> None:
    few, many = (ViewSettings(3, 2, k_self, mixing=mixing, **MOVES) for k_self in (4, 9))  # type: ignore[arg-type]
    one, other = both(few, many)
    assert torch.equal(one.images, other.images[:, :9])
    assert torch.equal(one.pairs, other.pairs[:, :4])
    assert torch.equal(one.targets, other.targets[:, :9])


def test_another_number_of_images_of_d_draws_others() -> None:
    """Two drawn without replacement are not the first two of three: they are shared only by methods of one K_DIFF."""
    two, three = both(ViewSettings(1, 2, augment_synthetic=False), ViewSettings(1, 3, augment_synthetic=False))
    same = (two.images[:, 1:] == three.images[:, 1:3]).flatten(2).all(dim=2)
    assert 0 < float(same.float().mean()) < 0.9


def test_with_another_size_of_s_most_mixtures_are_others() -> None:
    """They have the same weights, and the same pair for some only."""
    four, six = both(ViewSettings(4, k_self=6), ViewSettings(4, 2, 6))
    assert torch.equal(four.weights, six.weights)
    same = (four.pairs == six.pairs).all(dim=2)
    assert 0 < float(same.float().mean()) < 0.3
