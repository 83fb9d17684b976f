"""Unmixed copies, as the released program makes them: pixels of one view, labels of two, and never the last of S."""

import numpy as np
import pytest
import torch
from scipy import stats

from dpmix.data.images import Images
from dpmix.random import KeyedRandom
from dpmix.views.mixing import Views, make_views
from dpmix.views.settings import ViewSettings

CLASSES = ("a", "b", "c", "d")


def images(count: int, first: int) -> Images:
    """One colour each, so that every image is known by its shade: first, first + 1, …"""
    shades = np.arange(first, first + count, dtype=np.uint8)
    pixels = np.broadcast_to(shades[:, None, None, None], (count, 1, 4, 4)).copy()
    return Images(pixels, np.arange(count) % len(CLASSES), CLASSES)


PRIVATE, PUBLIC = images(40, 10), images(60, 100)


def made(k_base: int, k_diff: int, k_self: int, seed: int = 0, **changes: object) -> Views:
    settings = ViewSettings(k_base=k_base, k_diff=k_diff, k_self=k_self, mixing="unmixed", **changes)
    indices = np.arange(len(PRIVATE))
    return make_views(PRIVATE, indices, settings, KeyedRandom(seed, 0, indices), PUBLIC)


@pytest.mark.parametrize(("k_base", "k_diff"), [(3, 0), (2, 2), (1, 3), (0, 4)])
def test_pixels_are_those_of_one_view_and_labels_of_two(k_base: int, k_diff: int) -> None:
    views, members = made(k_base, k_diff, 5), k_base + k_diff
    assert views.images.shape[1] == members + 5
    first, second = views.pairs.unbind(dim=-1)
    rows = torch.arange(len(PRIVATE))[:, None]
    assert torch.equal(views.images[:, members:], views.images[rows, first])
    weight = views.weights[..., None]
    expected = weight * views.targets[rows, first] + (1 - weight) * views.targets[rows, second]
    assert torch.allclose(views.targets[:, members:], expected, atol=1e-6)
    if k_diff == 0:
        # One label: the copies are plain duplicates, and weights say nothing.
        assert torch.equal(views.targets, views.targets[:, :1].expand_as(views.targets))
    else:
        soft = (views.targets[:, members:] > 0).sum(dim=-1) > 1
        assert soft.any()
        # Wrongly: a label that half belongs to an image that is not there.
        assert torch.equal(soft, (views.targets[rows, first] != views.targets[rows, second]).any(dim=-1))


def test_both_indices_are_drawn_by_themselves_and_below_the_last() -> None:
    pairs = torch.cat([made(3, 2, 20, seed).pairs.flatten(0, 1) for seed in range(10)]).numpy()
    counts = np.bincount(pairs[:, 0] * 4 + pairs[:, 1], minlength=16)
    assert pairs.max() == 3  # of five
    assert (pairs[:, 0] == pairs[:, 1]).mean() == pytest.approx(1 / 4, abs=0.03)
    assert stats.chisquare(counts).pvalue > 1e-6
    # Mixup takes all five, and two that differ.
    plain = make_views(
        PRIVATE, np.arange(40), ViewSettings(3, 2, 20), KeyedRandom(0, 0, np.arange(40)), PUBLIC
    ).pairs.numpy()
    assert plain.max() == 4
    assert (plain[..., 0] != plain[..., 1]).all()


def test_mixup_of_the_same_example_is_mixed() -> None:
    """What the released program leaves out."""
    indices = np.arange(40)
    mixed = make_views(PRIVATE, indices, ViewSettings(2, 2, 5), KeyedRandom(0, 0, indices), PUBLIC)
    members = mixed.images[:, :4]
    same = (mixed.images[:, 4:, None] == members[:, None]).flatten(3).all(dim=3).any(dim=2)
    copies = made(2, 2, 5)
    copied = (copies.images[:, 4:, None] == copies.images[:, None, :4]).flatten(3).all(dim=3).any(dim=2)
    assert copied.all()
    assert same.float().mean() < 0.5


def test_the_other_views_are_those_of_mixup() -> None:
    indices = np.arange(40)
    mixed = make_views(PRIVATE, indices, ViewSettings(2, 2, 5), KeyedRandom(0, 0, indices), PUBLIC)
    assert torch.equal(mixed.images[:, :4], made(2, 2, 5).images[:, :4])
    assert torch.equal(mixed.targets[:, :4], made(2, 2, 5).targets[:, :4])


@pytest.mark.parametrize(
    ("k_base", "k_diff", "weights_matter"),
    [(4, 0, False), (4, 1, False), (0, 2, False), (1, 2, True), (0, 3, True), (4, 2, True)],
)
def test_settings_without_effect_are_left_out_of_a_runs_name(k_base: int, k_diff: int, weights_matter: bool) -> None:
    settings = [
        ViewSettings(k_base, k_diff, 6, alpha=alpha, pairs=pairs, mixing="unmixed").canonical()
        for alpha, pairs in ((0.2, "distinct"), (0.9, "independent"))
    ]
    assert (settings[0] == settings[1]) == (not weights_matter)
    assert {one.pairs for one in settings} == {"distinct"}
    assert {one.mixing for one in settings} == {"unmixed"}
    views = [
        made(k_base, k_diff, 6, alpha=alpha, pairs=pairs) for alpha, pairs in ((0.2, "distinct"), (0.9, "independent"))
    ]
    assert torch.equal(views[0].images, views[1].images)
    assert torch.equal(views[0].targets, views[1].targets) == (not weights_matter)


def test_without_copies_nothing_is_unmixed() -> None:
    assert ViewSettings(3, mixing="unmixed").canonical().mixing == "mixup"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"k_base": 1, "k_self": 2, "pairs": "independent"}, "needs at least two members in S; raise k_base or k_diff"),
        (
            {"k_base": 1, "microbatch_size": 2, "microbatch_mixup": "added"},
            "set microbatch_mixup: none, or mixing: mixup",
        ),
    ],
)
def test_what_cannot_be_copied_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ViewSettings(mixing="unmixed", **given)
