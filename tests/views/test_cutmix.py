"""CutMix: a box of one member in the other, against a plain loop over examples, views and pixels."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpmix.data.images import Images
from dpmix.random import KeyedRandom
from dpmix.views import mixing_modes
from dpmix.views.mixing import cut, make_views
from dpmix.views.settings import ViewSettings
from tests.views.small_sets import SIDE, view_settings, views_of


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
    steps = [mixing_modes._draw_boxes(KeyedRandom(1, step, np.arange(500)), "lambda", equal, 9, 9) for step in range(2)]
    corners = np.concatenate(steps, axis=1)[..., [0, 2]].reshape(500, 8)
    others = np.corrcoef(corners.T)[~np.eye(8, dtype=bool)]
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
