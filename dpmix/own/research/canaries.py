"""Canaries for an audit: made-up units whose gradients, as long as C, have directions of their own.

A canary is an image of one colour, which no crop and no mixture of its views changes; a person who is a canary has one
to three such images. The encoder is replaced by one that gives each colour a feature of its own, so that what the
trainer adds for a canary can be told from everything else in the noisy sum. As many directions belong to canaries that
are left out. All else is the trainer's: sampler, views, clipping, noise, update, ledger. The learning rate is so small
that the weights stay where all gradients are longer than C; the claim is for every learning rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dpmix.artefacts.experiment import Experiment
from dpmix.data.images import Images
from dpmix.data.persons import Persons
from dpmix.execution import IN_MEMORY
from dpmix.models.features import Featurizer
from dpmix.params.models import EncoderSpec
from dpmix.params.specs import DatasetSpec
from dpmix.privacy.audit import Transcript
from dpmix.privacy.plan import Plan
from dpmix.training.data import TrainingData
from dpmix.training.heads import Head, train_heads

_SIDE = 4  # of the images, in pixels
_TESTED = 1  # test images, of which nothing is looked at
_RATE = 1e-12
_LENGTH = 100.0  # of a feature: beside it the constant of the bias, which all share, does not count
_NAME = "audit"
_AT_A_TIME = 512  # units whose views are made together
_MOST_NUMBERS = 3e7  # in the noisy sums of a run, which are kept


@dataclass(frozen=True)
class Observed:
    """What one run shows of its canaries.

    Attributes:
        inside: float64 [T, n], each step's noisy sum along the directions of n canaries, in units of C.
        outside: the same for n that were left out.
    """

    inside: npt.NDArray[np.float64]
    outside: npt.NDArray[np.float64]


def canaries(plan: Plan, classes: int, most: int) -> int:
    """How many canaries a run holds: all units or `most`, and fewer if its noisy sums would be too many to keep."""
    return max(1, min(plan.population, most, int(_MOST_NUMBERS / (2 * classes * plan.steps))))


def observe(settings: Mapping[str, Any], plan: Plan, classes: int, count: int) -> Observed:
    """Train a head by the trainer on made-up units of which `count` are canaries, as if for release.

    Sample and noise come from the operating system.

    Args:
        settings: `RunSettings` under audit, by name.
        plan: its sampling, noise and steps.
        classes: number of classes.
        count: canaries, at most N.
    """
    labels = np.arange(plan.population) % classes
    data = _data(plan, labels, classes)
    run = _experiment(settings, plan, classes)
    transcript = Transcript(plan.noise(run.private_seed))
    train_heads(
        run,
        [Head(plan, _RATE, _NAME)],
        data,
        Featurizer(_Encoder(count)),
        physical_batch=_AT_A_TIME,
        noise=transcript,
        watcher=_Silent(),
        kept_bytes=IN_MEMORY,
    )
    # At weights of zero the gradient of a canary is its feature times (1 / classes - label).
    direction = 1 / classes - np.eye(classes)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    noisy = torch.stack(transcript.noisy[_NAME]).double().numpy() / plan.clip_norm
    inside, outside = noisy[:, :, :count], noisy[:, :, count : 2 * count]
    along = direction[labels[:count]]
    return Observed(np.einsum("tci,ic->ti", inside, along), np.einsum("tci,ic->ti", outside, along))


class _Encoder:
    """From colours to features [m, 2 n + 1]: a canary's own, none for those left out, and one that all others share."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, pixels: Tensor) -> Tensor:
        red, green, blue = (pixels[..., 0, 0] * 255).round().long().unbind(dim=1)
        number = red + 256 * green + 65536 * blue
        column = torch.where(number < self._count, number, 2 * self._count)
        return torch.zeros(len(column), 2 * self._count + 1).scatter_(1, column[:, None], _LENGTH)


class _Silent:
    """A `dpmix.execution.Watcher` that shows nothing."""

    def step(self, step: int, steps: int) -> None:
        """See `dpmix.execution.Watcher`."""

    def restored(self, step: int) -> None:
        """See `dpmix.execution.Watcher`."""

    def saved(self, step: int) -> None:
        """See `dpmix.execution.Watcher`."""

    def epoch(self, epoch: int, accuracies: object) -> None:
        """See `dpmix.execution.Watcher`."""


def _data(plan: Plan, labels: npt.NDArray[np.int64], classes: int) -> TrainingData:
    """N units, each of its own colour; persons have one to three images."""
    units = np.arange(plan.population)
    if plan.unit == "person":
        units = np.repeat(units, 1 + units % 3)
    colours = np.stack([units % 256, units // 256 % 256, units // 65536], axis=1).astype(np.uint8)
    pixels = np.broadcast_to(colours[..., None, None], (len(units), 3, _SIDE, _SIDE))
    names = tuple(f"class {number}" for number in range(classes))
    images = Images(pixels, labels[units], names)
    persons = Persons.of(units, plan.population) if plan.unit == "person" else None
    return TrainingData(images, Images(pixels[:_TESTED], labels[units[:_TESTED]], names), None, None, persons)


def _experiment(settings: Mapping[str, Any], plan: Plan, classes: int) -> Experiment:
    """The run to audit, on made-up images, without views of public ones: they would shorten what canaries add."""
    sizes = {"persons": plan.population} if plan.unit == "person" else {"train": plan.population}
    return Experiment(
        dataset=DatasetSpec(
            name=_NAME, label=_NAME, source="listed", path="none", classes=classes, test=_TESTED, **sizes
        ),
        model=EncoderSpec(
            kind="encoder", name=_NAME, label=_NAME, architecture="none", weights="none", resolution=_SIDE
        ),
        method=_NAME,
        synthetic=None,
        learning_rate=_RATE,
        seed=0,
        **{**settings, "k_diff": 0, "padding": min(settings["padding"], _SIDE - 1), "release": True},
    )
