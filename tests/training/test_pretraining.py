"""Pretraining on D is plain SGD on D's features, and on nothing else."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from dpmix.data.images import Images
from dpmix.models.features import Featurizer
from dpmix.training.data import TrainingData, load_data
from dpmix.training.heads import Head, train_heads
from tests.training import reference
from tests.training.conftest import TRAIN, World, as_images, blocks, draw, plan_for

RATE, MOMENTUM, BATCH = 0.5, 0.9, 256


@pytest.fixture
def data(world: World) -> TrainingData:
    """Private images, D and S2 each of their own generator; |D| is one batch."""
    data = load_data(world.experiment(), "demo")
    return replace(data, mixed_in=as_images(draw(30, 11)), public=as_images(draw(48, 2)))


def pretrained(world: World, data: TrainingData, epochs: int, seed: int = 1) -> Mapping[str, Tensor]:
    """The weights before the first private step: with a learning rate of zero they stay."""
    experiment = world.experiment(pretrain_epochs=epochs, epochs=1, seed=seed)
    head = Head(plan_for(experiment.plan()), 0.0, "a")
    (outcome,) = train_heads(experiment, [head], data, Featurizer(blocks, reference.SHIFT, reference.SCALE))
    return {name: outcome.weights[name] for name in ("weight", "bias")}


def features_of(public: Images) -> tuple[Tensor, Tensor]:
    """D's unaugmented features, float64 [|D|, 16], and labels."""
    pixels = torch.from_numpy(np.array(public.images)).float() / 255
    return reference.standardised(pixels), torch.from_numpy(public.labels)


def sgd(features: Tensor, labels: Tensor, batches: list[np.ndarray]) -> Mapping[str, Tensor]:
    """A linear head after steps on these batches, in float64."""
    layer = reference.zero_head().double()
    optimizer = torch.optim.SGD(layer.parameters(), lr=RATE, momentum=MOMENTUM)
    for batch in batches:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(features[batch]), labels[batch]).backward()
        optimizer.step()
    return reference.snapshot(dict(layer.named_parameters()))


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_it_is_sgd_on_d(world: World, data: TrainingData) -> None:
    assert data.public is not None
    everything, start = np.arange(len(data.public)), reference.snapshot(dict(reference.zero_head().named_parameters()))
    for epochs in (1, 7):
        found = pretrained(world, data, epochs)
        reference.assert_same(found, sgd(*features_of(data.public), [everything] * epochs), start)
    assert not any(value.any() for value in pretrained(world, data, 0).values())


def test_no_private_image_or_label_is_read(world: World, data: TrainingData) -> None:
    found = pretrained(world, data, 3)
    assert all(bool(value.any()) for value in found.values())
    images, labels = draw(TRAIN, 7)
    others = as_images((images, (labels + 1) % 4))
    for name in ("private", "evaluation", "mixed_in"):
        assert same(pretrained(world, replace(data, **{name: others}, mixed_in_places=None), 3), found), name
    assert not same(pretrained(world, replace(data, public=others), 3), found)


def left_for_last(world: World, seed: int, epochs: int) -> list[int]:
    """Which image of 257 is alone in the second batch of each epoch: found by trying every one."""
    public = as_images(draw(BATCH + 1, 3))
    data = replace(load_data(world.experiment(), "demo"), public=public)
    everything, batches, found = np.arange(BATCH + 1), list[np.ndarray](), []
    known = features_of(public)
    for epoch in range(1, epochs + 1):
        weights = pretrained(world, data, epoch, seed)
        distances = []
        for last in everything:
            tried = sgd(*known, [*batches, np.delete(everything, last), everything[[last]]])
            distances.append(reference.length({name: weights[name].double() - tried[name] for name in tried}))
        found.append(int(np.argmin(distances)))
        batches += [np.delete(everything, found[-1]), everything[found[-1:]]]
        assert distances[found[-1]] < reference.ROUNDING * reference.length(weights) < 0.1 * np.median(distances)
    return found


def test_every_epoch_takes_every_image_once_in_an_order_of_its_own(world: World) -> None:
    orders = [*left_for_last(world, seed=1, epochs=2), *left_for_last(world, seed=2, epochs=1)]
    # Three draws from 257: by chance two agree in one of a hundred worlds, and this is one world.
    assert len(set(orders)) == 3
