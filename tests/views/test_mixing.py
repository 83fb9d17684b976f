"""The views of Algorithm 1 against a plain loop over examples, views and draws."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dpmix.data.images import Images
from dpmix.errors import DataError
from dpmix.random import KeyedRandom
from dpmix.views import mixing
from dpmix.views.augmentation import augment
from dpmix.views.mixing import mix, one_hot
from dpmix.views.settings import ViewSettings
from tests.views.small_sets import CLASSES, PRIVATE, SIDE, SYNTHETIC, images, view_settings, views_of


@given(view_settings(), st.lists(st.integers(0, 49), max_size=4, unique=True))
@settings(max_examples=60)
def test_s_and_its_mixtures(spec, indices):
    views = views_of(spec, indices)
    n, members = len(indices), spec.k_base + spec.k_diff
    assert views.images.shape == (n, spec.views, 1, SIDE, SIDE)
    assert views.targets.shape == (n, spec.views, CLASSES)
    assert views.weights.shape == (n, spec.k_self)
    assert views.pairs.shape == (n, spec.k_self, 2)
    assert views.images.dtype == views.targets.dtype == torch.float32
    assert n == 0 or (views.images.min() >= -1e-6 and views.images.max() <= 1 + 1e-6)
    assert torch.allclose(views.targets.sum(dim=2), torch.ones(n, spec.views), atol=1e-6)
    # S has the labels of what is in it; S' mixes images and labels by the very same λ.
    assert torch.equal(views.targets[:, : spec.k_base].argmax(dim=2), one_labels(indices, spec.k_base))
    assert torch.equal(views.targets[:, :members].amax(dim=2), torch.ones(n, members))
    for i in range(n):
        for j in range(spec.k_self):
            a, b = views.pairs[i, j].tolist()
            weight = views.weights[i, j]
            assert 0 <= min(a, b) <= max(a, b) < members
            assert spec.pairs == "independent" or a != b
            for values in (views.images[i], views.targets[i]):
                mixture = weight * values[a] + (1 - weight) * values[b]
                assert torch.allclose(values[members + j], mixture, atol=1e-6)


def one_labels(indices, k: int) -> torch.Tensor:
    return torch.as_tensor(PRIVATE.labels[np.asarray(indices, dtype=np.int64)])[:, None].expand(-1, k)


def test_base_views_are_the_examples_own_augmentations():
    spec = ViewSettings(2, transforms=("crop", "flip"), padding=1)
    views = views_of(spec)
    pixels = torch.from_numpy(PRIVATE.images[[3, 7, 8]])
    expected = augment(pixels, 2, spec.transforms, KeyedRandom(1, 0, [3, 7, 8]), "base", padding=1)
    assert torch.equal(views.images, expected)


@given(view_settings(("mixup", "cutmix")), st.integers(0, 5))
@settings(max_examples=40)
def test_removing_an_example_changes_nobody_else(spec, removed):
    indices = [0, 5, 9, 20, 33, 49]
    whole, rest = views_of(spec, indices), views_of(spec, indices[:removed] + indices[removed + 1 :])
    kept = [place for place in range(6) if place != removed]
    for name in ("images", "targets", "weights", "pairs"):
        assert torch.equal(getattr(whole, name)[kept], getattr(rest, name)), name


def test_another_record_in_ones_place_changes_nobody_else():
    other = Images(PRIVATE.images.copy(), PRIVATE.labels.copy(), PRIVATE.classes)
    other.images[7], other.labels[7] = 255, 0
    spec = ViewSettings(2, 2, 4, transforms=("crop", "flip", "jitter"), padding=2)
    before, after = views_of(spec), views_of(spec, private=other)
    assert torch.equal(before.images[[0, 2]], after.images[[0, 2]])
    assert torch.equal(before.targets[[0, 2]], after.targets[[0, 2]])
    assert not torch.equal(before.images[1], after.images[1])


def test_dp_mix_self_labels_stay_one_hot():
    views = views_of(ViewSettings(4, 0, 6, transforms=("crop", "flip"), padding=2))
    assert torch.equal(views.targets, one_hot(PRIVATE.labels[[3, 7, 8]], CLASSES)[:, None].expand(-1, 10, -1))
    assert ((views.weights > 0) & (views.weights < 1)).any()
    # The images do mix: no mixture of two unlike members is one of them.
    for i in range(3):
        for j, (a, b) in enumerate(views.pairs[i].tolist()):
            if not torch.equal(views.images[i, a], views.images[i, b]) and 0.01 < views.weights[i, j] < 0.99:
                assert not any(torch.equal(views.images[i, 4 + j], member) for member in views.images[i, :4])


def test_dp_mix_diff_labels_are_soft():
    views = views_of(ViewSettings(1, 3, 20), range(30))
    assert (views.targets[:, 4:].amax(dim=2) < 0.999).any()
    assert torch.equal(views.images[:, 1:4], views.images[:, 1:4].clamp(0, 1))


def test_lambda_is_beta_once_per_mixture():
    views = views_of(ViewSettings(2, 0, 4), np.arange(50))
    assert len(views.weights.unique()) > 195
    drawn = torch.cat([views_of(ViewSettings(2, 0, 4), np.arange(50), step=step).weights for step in range(40)])
    assert stats.kstest(drawn.flatten().numpy(), stats.beta(0.2, 0.2).cdf).pvalue > 1e-5
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.12


@pytest.mark.parametrize("count", [1, 3, 11, 12])
def test_synthetic_images_without_replacement(count):
    chosen = mixing._without_replacement(KeyedRandom(0, 0, np.arange(6000)), "diff", 12, count)
    assert chosen.shape == (6000, count)
    assert (np.diff(np.sort(chosen, axis=1), axis=1) > 0).all()
    assert chosen.min() == 0
    assert chosen.max() == 11
    counts = np.bincount(chosen.ravel(), minlength=12)
    assert count == 12 or stats.chisquare(counts).pvalue > 1e-5


def test_subsets_of_d_are_uniform():
    chosen = np.sort(mixing._without_replacement(KeyedRandom(0, 0, np.arange(12_000)), "diff", 5, 2), axis=1)
    counts = np.bincount(chosen[:, 0] * 5 + chosen[:, 1], minlength=25)
    assert stats.chisquare(counts[counts > 0]).pvalue > 1e-5
    assert (counts > 0).sum() == 10


def test_pure_synthetic_views_hold_no_private_pixel():
    views = views_of(ViewSettings(0, 4, 3), [3])
    pixels = torch.from_numpy(SYNTHETIC.images).float() / 255
    for place in range(4):
        matches = (pixels == views.images[0, place]).flatten(1).all(dim=1).nonzero().flatten().tolist()
        assert len(matches) == 1
        assert views.targets[0, place].argmax() == SYNTHETIC.labels[matches[0]]


def test_synthetic_images_are_augmented_only_if_asked():
    plain = views_of(ViewSettings(1, 5, transforms=("noise",), augment_synthetic=False))
    augmented = views_of(ViewSettings(1, 5, transforms=("noise",)))
    pixels = (torch.from_numpy(SYNTHETIC.images).float() / 255).flatten(1)
    assert all((pixels == view.flatten()).all(dim=1).any() for view in plain.images[:, 1:].flatten(0, 1))
    assert not any((pixels == view.flatten()).all(dim=1).any() for view in augmented.images[:, 1:].flatten(0, 1))
    # Neither two examples nor two views of one share their draws.
    noise = (augmented.images[:, 1:] - plain.images[:, 1:]).flatten(0, 1).flatten(1)
    assert len(noise.unique(dim=0)) == len(noise)


def test_steps_differ():
    spec = ViewSettings(1, 2, 2)
    assert not torch.equal(views_of(spec).images, views_of(spec, step=1).images)
    assert torch.equal(views_of(spec).images, views_of(spec).images)


@pytest.mark.parametrize("synthetic", [None, images(2)])
def test_too_small_a_synthetic_set(synthetic):
    with pytest.raises(ValueError, match="k_diff = 3 needs a synthetic set"):
        views_of(ViewSettings(1, 3), synthetic=synthetic)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k_base": 0}, "S is empty"),
        ({"k_base": 1, "k_self": 1}, "needs at least two members in S"),
        ({"k_base": 1, "microbatch_mixup": "added"}, "microbatch_mixup needs microbatch_size: 2"),
        ({"k_base": 1, "k_diff": 1, "microbatch_size": 2}, "microbatches have no mixed views; set k_self and"),
        ({"k_base": 1, "mixing": "cutmx"}, "unknown mixing 'cutmx'; did you mean 'cutmix'"),
        ({"k_base": -1}, "k_base -1 is not a whole number of at least 0"),
        ({"k_base": 1.5}, "k_base 1.5 is not a whole number of at least 0"),
        ({"k_base": True}, "k_base True is not a whole number"),
        ({"k_base": 1, "k_diff": -1}, "k_diff -1 is not a whole number of at least 0"),
        ({"k_base": 2, "k_self": -1}, "k_self -1 is not a whole number of at least 0"),
        ({"k_base": 1, "padding": -1}, "padding -1 is not a whole number of at least 0"),
        ({"k_base": 1, "microbatch_size": 0}, "microbatch_size 0 is not a whole number of at least 1"),
        ({"k_base": 2, "pairs": "x"}, "unknown pairs 'x'; there are distinct, independent"),
        ({"k_base": 2, "microbatch_mixup": "add"}, "unknown microbatch_mixup 'add'; did you mean 'added'"),
        ({"k_base": 2, "alpha": 0}, r"alpha 0 is not in \(0, 1\]"),
        ({"k_base": 2, "alpha": 1.5}, r"alpha 1.5 is not in \(0, 1\]"),
        ({"k_base": 2, "alpha": float("nan")}, r"alpha nan is not in \(0, 1\]"),
    ],
)
def test_impossible_settings(changes, words):
    with pytest.raises(ValueError, match=words) as raised:
        ViewSettings(**changes)
    assert "\n" not in str(raised.value)


def test_a_d_of_other_classes_is_refused_and_one_in_order_has_their_labels():
    private = replace(PRIVATE, classes=("dog", "cat", "ant", "bee"))
    with pytest.raises(DataError, match="labels mean different classes"):
        views_of(
            ViewSettings(1, 1), private=private, synthetic=replace(SYNTHETIC, classes=("ant", "bee", "cat", "dog"))
        )
    views_of(ViewSettings(1), private=private)  # without views of D its classes do not matter
    ants = replace(SYNTHETIC, labels=np.full(len(SYNTHETIC), 2), classes=private.classes)
    assert views_of(ViewSettings(0, 1), private=private, synthetic=ants).targets.argmax(dim=-1).unique().tolist() == [2]


def test_one_member_may_be_mixed_with_itself_if_pairs_are_independent():
    views = views_of(ViewSettings(1, 0, 2, pairs="independent"))
    assert torch.equal(views.images[:, 1], views.images[:, 0])


@given(st.floats(0, 1, width=32))
def test_a_mixture_of_equals_is_exact(weight):
    members = torch.rand(2, 1, 3, generator=torch.Generator().manual_seed(0))
    pairs = torch.zeros(2, 1, 2, dtype=torch.int64)
    assert torch.equal(mix(members, pairs, torch.full((2, 1), weight)), members)
