"""Which picture a view is: equal numbers are equal pixels, and every picture is as likely as every other."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from dpmix.random import KeyedRandom
from dpmix.views.finite import pictures, which_pictures
from dpmix.views.mixing import base_views
from dpmix.views.settings import ViewSettings
from dpmix.views.transforms import FINITE, TRANSFORMS
from dpmix.views.union import ViewUnion, Wanted
from dpmix.views.union_views import make_union_views, plain_pictures
from tests.views.small_sets import PRIVATE, images

SHOWN = np.arange(8)

SETTINGS = [
    (("crop", "flip"), 1, 18),
    (("flip", "crop"), 2, 50),
    (("crop",), 1, 9),
    (("flip",), 3, 2),
    (("crop", "sobel"), 1, 9),
    ((), 0, 1),
]


@pytest.mark.parametrize(("transforms", "padding", "count"), SETTINGS)
def test_equal_numbers_are_equal_pixels_and_no_others(transforms: tuple[str, ...], padding: int, count: int) -> None:
    """Whatever the step: of the many views of an image there are as many different pictures as numbers."""
    settings = ViewSettings(40, transforms=transforms, padding=padding)
    assert pictures(settings) == count
    seen: dict[tuple[int, int], bytes] = {}
    for step in range(30):
        random = KeyedRandom(1, step, SHOWN)
        made, _ = base_views(PRIVATE, SHOWN, settings, random)
        for image, row in enumerate(which_pictures(random, "base", 40, settings)):
            for view, number in enumerate(row.tolist()):
                pixels = made[image, view].numpy().tobytes()
                assert seen.setdefault((image, number), pixels) == pixels
    assert len(seen) == count * len(SHOWN)
    assert len({(image, pixels) for (image, _), pixels in seen.items()}) == len(seen)


def test_all_pictures_are_equally_likely() -> None:
    settings = ViewSettings(64, transforms=("crop", "flip"), padding=1)
    drawn = which_pictures(KeyedRandom(3, 5, np.arange(500)), "base", 64, settings)
    counted = Counter(drawn.ravel().tolist())
    # A false alarm in a million seeds.
    assert stats.chisquare([counted[number] for number in range(18)]).pvalue > 1e-6


def test_of_other_transforms_there_is_no_end() -> None:
    assert set(FINITE) <= set(TRANSFORMS)
    for name in set(TRANSFORMS) - set(FINITE):
        assert pictures(ViewSettings(1, transforms=("crop", name), padding=1)) is None


def test_the_plain_views_of_a_union_and_their_pictures() -> None:
    """Of base views and of images of D: equal image, equal number, equal pixels, in whichever group they are."""
    moves = {"transforms": ("crop", "flip"), "padding": 1}
    wanted = [
        Wanted(ViewSettings(1)),
        Wanted(ViewSettings(5, 0, 2, **moves)),  # type: ignore[arg-type]
        Wanted(ViewSettings(3, 4, 2, **moves), "D"),  # type: ignore[arg-type]
        Wanted(ViewSettings(3, 2, transforms=("jitter",)), "D"),
    ]
    private, synthetic = images(50), images(12, seed=1)
    coloured = [type(one)(np.repeat(one.images, 3, axis=1), one.labels, one.classes) for one in (private, synthetic)]
    union = ViewUnion.of(wanted)
    seen: dict[object, bytes] = {}
    views = 0
    for step in range(60):
        random = KeyedRandom(1, step, SHOWN)
        parts = make_union_views(coloured[0], SHOWN, union, random, {"D": coloured[1], None: None}).parts
        plain = next(parts).unflatten(0, (len(SHOWN), union.columns))
        drawn = plain_pictures(SHOWN, union, random, {"D": coloured[1], None: None})
        kinds = ["plain", "moved", "any", "D moved", "D any"]
        assert [of.shape[1] for of, _ in drawn] == [1, 5, 3, 4, 2]
        column = 0
        for kind, (of, which) in zip(kinds, drawn, strict=True):
            for place in range(of.shape[1]):
                for example in range(len(SHOWN)):
                    if "any" in kind:
                        assert which[example, place] == -1
                        continue
                    pixels = plain[example, column].numpy().tobytes()
                    key = (kind, int(of[example, place]), int(which[example, place]))
                    assert seen.setdefault(key, pixels) == pixels
                    views += 1
                column += 1
    assert len(seen) < views / 3
