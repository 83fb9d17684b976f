"""The views of Algorithm 1 against a plain loop over examples, views and draws.

Long because the views are held to a plain loop over examples in every setting.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dpmix.data.images import Images
from dpmix.random import KeyedRandom
from dpmix.views import mixing
from dpmix.views.augmentation import augment
from dpmix.views.mixing import Views, cut, make_microbatch_views, make_views, mix, one_hot
from dpmix.views.settings import ViewSettings

CLASSES, SIDE = 4, 6


def images(count: int, seed: int = 0, side: int = SIDE) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 1, side, side)).astype(np.uint8)
    return Images(pixels, np.arange(count, dtype=np.int64) % CLASSES, tuple("abcd"))


PRIVATE, SYNTHETIC = images(50), images(12, seed=1)


def views_of(spec: ViewSettings, indices=(3, 7, 8), *, step: int = 0, private=PRIVATE, synthetic=SYNTHETIC) -> Views:
    return make_views(private, indices, spec, KeyedRandom(1, step, indices), synthetic)


@st.composite
def view_settings(draw, mixing=("mixup",)) -> ViewSettings:
    k_base, k_diff = draw(st.integers(0, 3)), draw(st.integers(0, 4))
    k_base += k_base + k_diff == 0
    pairs = draw(st.sampled_from(["distinct", "independent"]))
    k_self = draw(st.integers(0, 4)) if pairs == "independent" or k_base + k_diff > 1 else 0
    transforms = draw(st.sampled_from([(), ("flip",), ("crop", "flip"), ("crop", "noise"), ("jitter", "flip")]))
    augmented = draw(st.booleans())
    kind = draw(st.sampled_from(mixing))
    return ViewSettings(k_base, k_diff, k_self, 0.2, pairs, transforms, 1, augmented, mixing=kind)


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


@pytest.mark.parametrize("kind", ["distinct", "independent"])
@pytest.mark.parametrize("members", [2, 3, 5])
def test_pairs_are_uniform_over_s(kind, members):
    spec = ViewSettings(members, 0, 3, pairs=kind)
    drawn = mixing._draw_pairs(KeyedRandom(0, 0, np.arange(8000)), members, spec).reshape(-1, 2).numpy()
    counts = np.zeros((members, members))
    np.add.at(counts, tuple(drawn.T), 1)
    if kind == "distinct":
        assert not counts.diagonal().any()
        counts = counts[~np.eye(members, dtype=bool)]
    assert stats.chisquare(counts.ravel()).pvalue > 1e-5


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
        ({"k_base": 1, "k_diff": 1, "microbatch_size": 2}, "microbatches take k_self = k_diff = 0"),
        ({"k_base": 1, "mixing": "cutmx"}, "choose mixup or cutmix"),
    ],
)
def test_impossible_settings(changes, words):
    with pytest.raises(ValueError, match=words):
        ViewSettings(**changes)


def test_one_member_may_be_mixed_with_itself_if_pairs_are_independent():
    views = views_of(ViewSettings(1, 0, 2, pairs="independent"))
    assert torch.equal(views.images[:, 1], views.images[:, 0])


@given(st.floats(0, 1, width=32))
def test_a_mixture_of_equals_is_exact(weight):
    members = torch.rand(2, 1, 3, generator=torch.Generator().manual_seed(0))
    pairs = torch.zeros(2, 1, 2, dtype=torch.int64)
    assert torch.equal(mix(members, pairs, torch.full((2, 1), weight)), members)


# --- CutMix ----------------------------------------------------------------------------------------------------------
@given(view_settings(("cutmix",)), st.lists(st.integers(0, 49), max_size=4, unique=True))
@settings(max_examples=60)
def test_cut_views(spec, indices):
    views, mixed_up = views_of(spec, indices), views_of(replace(spec, mixing="mixup"), indices)
    members = spec.k_base + spec.k_diff
    assert views.images.shape == (len(indices), spec.views, 1, SIDE, SIDE)
    assert views.weights.dtype == views.images.dtype == views.targets.dtype == torch.float32
    # S and the pairs are those of mixup: only the third step differs.
    assert torch.equal(views.images[:, :members], mixed_up.images[:, :members])
    assert torch.equal(views.targets[:, :members], mixed_up.targets[:, :members])
    assert torch.equal(views.pairs, mixed_up.pairs)
    for i in range(len(indices)):
        for j in range(spec.k_self):
            a, b = views.pairs[i, j].tolist()
            weight, mixture = views.weights[i, j], views.images[i, members + j]
            from_b = mixture != views.images[i, a]
            assert torch.equal(mixture[from_b], views.images[i, b][from_b])
            # Where the members happen to agree, as along reflected borders, it does not show whose pixel it is.
            unlike = views.images[i, a] != views.images[i, b]
            lowest, highest = int((from_b & unlike).sum()), int((from_b | ~unlike).sum())
            assert lowest <= round(float(1 - weight) * SIDE**2) <= highest
            soft = weight * views.targets[i, a] + (1 - weight) * views.targets[i, b]
            assert torch.allclose(views.targets[i, members + j], soft, atol=1e-6)


def cut_of_marked(count: int, height: int = 12, width: int = 20, alpha: float = 1.0):
    """Many mixtures of a black image with a white one of another class, and λ as it was drawn."""
    private = Images(np.zeros((count, 3, height, width), np.uint8), np.zeros(count, np.int64), tuple("abcd"))
    white = Images(np.full((1, 3, height, width), 255, np.uint8), np.ones(1, np.int64), tuple("abcd"))
    spec = ViewSettings(1, 1, 4, alpha=alpha, mixing="cutmix", augment_synthetic=False)
    random = KeyedRandom(1, 0, np.arange(count))
    views = make_views(private, np.arange(count), spec, random, white)
    return views, random.beta("lambda", alpha, 4)


def test_labels_weigh_what_pixels_show():
    views, _ = cut_of_marked(400)
    pixels = views.images[:, 2:]
    assert set(pixels.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(pixels, pixels[:, :, :1].expand_as(pixels)), "channels are cut alike"
    white = pixels[:, :, 0].mean(dim=(2, 3))
    assert torch.allclose(views.targets[:, 2:, 1], white, atol=1e-6)
    assert torch.allclose(views.targets[:, 2:, 0], 1 - white, atol=1e-6)
    first_is_black = views.pairs[..., 0] == 0
    assert torch.allclose(views.weights, torch.where(first_is_black, 1 - white, white), atol=1e-6)


def test_what_is_pasted_is_one_box_of_the_drawn_size():
    views, drawn = cut_of_marked(2000)
    pasted = (views.images[:, 2:, 0] == 1) == (views.pairs[..., 1] == 1)[..., None, None]
    rows, columns = pasted.any(dim=3), pasted.any(dim=2)
    assert torch.equal(pasted, rows[..., :, None] & columns[..., None, :])
    for line, size in ((rows, 12), (columns, 20)):
        edges = (line[..., 1:] != line[..., :-1]).sum(dim=2)
        assert edges.max() <= 2
        side = torch.from_numpy(np.rint(size * np.sqrt(1 - drawn)))
        # Cut off at the border, or empty where a side rounds to nothing.
        whole = line.any(dim=2) & ~line[..., 0] & ~line[..., -1]
        assert torch.equal(line.sum(dim=2)[whole].double(), side[whole])
        assert (line.sum(dim=2) <= side).all()
    # A uniform centre: every pixel is replaced in some mixture, the middle more often than the corners.
    often = pasted.float().mean(dim=(0, 1))
    assert often.min() > 0.1
    assert often[5:7, 9:11].min() > often[[0, 0, -1, -1], [0, -1, 0, -1]].max() + 0.1
    assert torch.allclose(often, often.flip(0), atol=0.05)
    assert torch.allclose(often, often.flip(1), atol=0.05)


def test_boxes_are_keyed_and_independent():
    views, _ = cut_of_marked(300)
    assert len(views.weights.unique(dim=0)) == 300
    same = cut_of_marked(300)[0]
    assert torch.equal(views.images, same.images)
    equal = np.full((500, 2), 0.75)
    steps = [mixing._draw_boxes(KeyedRandom(1, step, np.arange(500)), "lambda", equal, 9, 9) for step in range(2)]
    corners = torch.cat(steps, dim=1)[..., [0, 2]].reshape(500, 8).double()
    others = np.corrcoef(corners.T.numpy())[~np.eye(8, dtype=bool)]
    assert np.abs(others).max() < 0.2


def test_a_box_of_one_member_in_another():
    members = torch.rand(1, 3, 2, 5, 7, generator=torch.Generator().manual_seed(0))
    whole = torch.tensor([0, 5, 0, 7])
    mixed = cut(
        members,
        torch.tensor([[[2, 0], [1, 2], [0, 1]]]),
        torch.stack([torch.tensor([1, 3, 2, 6]), whole, whole * 0])[None],
    )
    expected = members[:, [2, 2, 0]].clone()
    expected[0, 0, :, 1:3, 2:6] = members[0, 0, :, 1:3, 2:6]
    assert torch.equal(mixed, expected)


# --- Microbatches ----------------------------------------------------------------------------------------------------
UNITS = np.array([[3, 7], [8, 1], [20, 4]])


def microbatch_views(mixup: str, units=UNITS, k: int = 2, private=PRIVATE) -> Views:
    spec = ViewSettings(
        k, transforms=("crop", "flip"), padding=1, microbatch_size=units.shape[1], microbatch_mixup=mixup
    )
    return make_microbatch_views(private, units, spec, seed=1, step=0)


@pytest.mark.parametrize(("mixup", "count"), [("none", 4), ("added", 6), ("alone", 2)])
def test_views_of_a_microbatch(mixup, count):
    views = microbatch_views(mixup)
    assert views.images.shape == (3, count, 1, SIDE, SIDE)
    assert torch.allclose(views.targets.sum(dim=2), torch.ones(3, count), atol=1e-6)
    single = ViewSettings(2, transforms=("crop", "flip"), padding=1)
    own = views_of(single, UNITS.ravel())
    members, labels = own.images.view(3, 4, 1, SIDE, SIDE), own.targets.view(3, 4, CLASSES)
    if mixup != "alone":
        assert torch.equal(views.images[:, :4], members)
        assert torch.equal(views.targets[:, :4], labels)
    if mixup != "none":
        assert views.weights.shape == (3, 2)
        weight = views.weights[:, :, None]
        soft = weight * labels[:, :2] + (1 - weight) * labels[:, 2:]
        weight = weight[..., None, None]
        assert torch.allclose(views.images[:, -2:], weight * members[:, :2] + (1 - weight) * members[:, 2:], atol=1e-6)
        assert torch.allclose(views.targets[:, -2:], soft, atol=1e-6)


@pytest.mark.parametrize("mixup", ["added", "alone"])
def test_cut_views_of_a_microbatch(mixup):
    spec = ViewSettings(2, microbatch_size=2, microbatch_mixup=mixup, mixing="cutmix")
    views, plain = make_microbatch_views(PRIVATE, UNITS, spec, seed=1, step=0), microbatch_views("none")
    members = views_of(ViewSettings(2), UNITS.ravel()).images.view(3, 4, 1, SIDE, SIDE)
    cut_views = views.images[:, -2:]
    from_second = cut_views != members[:, :2]
    assert torch.equal(cut_views[from_second], members[:, 2:][from_second])
    weight = views.weights[:, :, None]
    soft = weight * plain.targets[:, :2] + (1 - weight) * plain.targets[:, 2:]
    assert torch.allclose(views.targets[:, -2:], soft, atol=1e-6)
    assert ((views.weights > 0) & (views.weights < 1)).any()
    lone = UNITS.copy()
    lone[1, 0] = -1
    rest = make_microbatch_views(PRIVATE, lone, spec, seed=1, step=0)
    assert torch.equal(rest.images[[0, 2]], views.images[[0, 2]])
    assert torch.equal(rest.images[1, -2:], members[1, 2:])


@pytest.mark.parametrize("mixup", ["none", "added", "alone"])
@pytest.mark.parametrize("slot", [0, 1])
def test_a_microbatch_that_lost_a_record(mixup, slot):
    units = UNITS.copy()
    units[1, slot] = -1
    whole, rest = microbatch_views(mixup), microbatch_views(mixup, units)
    assert rest.images.shape == whole.images.shape
    assert torch.equal(whole.images[[0, 2]], rest.images[[0, 2]])
    assert torch.equal(whole.targets[[0, 2]], rest.targets[[0, 2]])
    kept, gone = slice(2 - 2 * slot, 4 - 2 * slot), slice(2 * slot, 2 * slot + 2)
    if mixup == "alone":
        # The one that is left is mixed with itself.
        assert torch.equal(rest.targets[1], one_hot(PRIVATE.labels[[units[1].max()]], CLASSES).expand(2, -1))
        assert torch.equal(rest.images[1], views_of(SINGLE, units[1, [1 - slot]]).images[0])
    else:
        assert torch.equal(whole.images[1, kept], rest.images[1, kept])
        assert not rest.targets[1, gone].any()
        assert not rest.images[1, gone].any()


SINGLE = ViewSettings(2, transforms=("crop", "flip"), padding=1)


@pytest.mark.parametrize("mixup", ["none", "added", "alone"])
def test_an_empty_slot_does_not_borrow_another_record(mixup):
    units = np.array([[5, -1], [-1, -1], [-1, 9]])
    other = Images(PRIVATE.images.copy(), PRIVATE.labels.copy(), PRIVATE.classes)
    other.images[0], other.labels[0] = 255, 3
    before, after = microbatch_views(mixup, units), microbatch_views(mixup, units, private=other)
    assert torch.equal(before.images, after.images)
    assert torch.equal(before.targets, after.targets)
    assert not before.targets[1].any()


@pytest.mark.parametrize("mixup", ["none", "added", "alone"])
def test_no_microbatches(mixup):
    views = microbatch_views(mixup, np.empty((0, 2), dtype=np.int64))
    assert views.images.shape[0] == views.targets.shape[0] == 0


def test_larger_microbatches():
    views = microbatch_views("none", np.array([[1, 2, 3, -1]]), k=3)
    assert views.images.shape[:2] == (1, 12)
    assert views.targets.sum() == 9
