"""Views of microbatches (Table 1), against a plain loop over microbatches and slots."""

import numpy as np
import pytest
import torch

from dpmix.data.images import Images
from dpmix.views.mixing import Views, make_microbatch_views, one_hot
from dpmix.views.settings import ViewSettings
from tests.views.small_sets import CLASSES, PRIVATE, SIDE, views_of

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
