"""The stream that fine-tunes heads, beside its encoder's bare forward pass over the same views.

The experiment is the paper scale's DP-Mix_Self of Table 13 (Caltech256, ViT-B-16), with 32 heads: 4 ε × 8 learning
rates. Only the numbers of images are small, pixels are noise, and the encoder's weights are random; none of it changes
what a view costs.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import ratio, tell, times, write_rates
from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.data.images import Images
from dpmix.models.encoder import Encoder
from dpmix.models.features import Featurizer
from dpmix.params.read import read
from dpmix.params.registries import encoder_library
from dpmix.privacy.plan import Plan
from dpmix.random import KeyedRandom
from dpmix.training.data import TrainingData, view_settings
from dpmix.training.heads import Head, train_heads
from dpmix.views.mixing import make_views

NOISE_MULTIPLIERS = (4.0, 2.2, 1.4, 0.9)  # near those of ε = 1, 2, 4, 8; what they are costs nothing
LEARNING_RATES = tuple(2.0**power for power in range(-2, 6))

STREAM, BARE, VIEWS = "the stream, 32 heads", "the encoder's bare forward pass", "views alone"


@dataclass(frozen=True)
class Size:
    """How much of the experiment is run: N, B, steps, test images, and examples that are encoded together."""

    examples: int
    batch: int
    steps: int
    test: int
    physical: int
    device: str = "cpu"
    precision: torch.dtype = torch.float32
    architecture: str = "ViT-B-16"


CPU = Size(examples=8, batch=2, steps=2, test=2, physical=2)
# B is the paper's; 24 steps of the 244.
GPU = Size(examples=24485, batch=1000, steps=24, test=512, physical=64, device="cuda", precision=torch.bfloat16)


class Recording:
    """An encoder that remembers how many images each call had."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self.calls, self.precision = encoder, list[int](), encoder.precision

    def __call__(self, images: Tensor) -> Tensor:
        """As the encoder."""
        self.calls.append(len(images))
        return self._encoder(images)


def experiment() -> Experiment:
    """Table 13's DP-Mix_Self, as `params.yaml` has it at the paper's scale."""
    (found,) = {
        artefact
        for cell in Catalogue(read("params.yaml"), "paper").cells("13")
        for artefact in cell.artefacts[:1]
        if isinstance(artefact, Experiment) and artefact.method == "dp-mix-self"
    }
    return found


def random_encoder(size: Size) -> tuple[nn.Module, Encoder]:
    """An image tower with random weights in the precision asked for, and the package's encoder with the same."""
    _, visual, resolution = encoder_library(size.architecture).skeleton(size.architecture, torch.device("cpu"))
    tower = copy.deepcopy(visual).requires_grad_(False).eval().to(size.device, size.precision)
    encoder = Encoder(
        visual, resolution=resolution, mean=(0.5,) * 3, std=(0.25,) * 3, device=size.device, dtype=size.precision
    )
    return tower, encoder


def random_images(count: int, side: int, classes: int) -> Images:
    """Noise, with every class in turn."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    return Images(images, np.arange(count) % classes, tuple(map(str, range(classes))))


def heads(size: Size) -> list[Head]:
    """32 heads that share the sample: 4 noise multipliers × 8 learning rates."""
    return [
        Head(plan(size, noise), rate, f"{noise:g} {rate:g}") for noise in NOISE_MULTIPLIERS for rate in LEARNING_RATES
    ]


def plan(size: Size, noise_multiplier: float) -> Plan:
    """As many steps as the size says."""
    return Plan.make(
        population=size.examples,
        batch_size=size.batch,
        epochs=Fraction(size.steps * size.batch, size.examples),
        clip_norm=1.0,
        noise_multiplier=noise_multiplier,
        delta=1e-5,
    )


def bare(visual: nn.Module, encoder: Encoder, calls: list[int], precision: torch.dtype) -> None:
    """The tower alone over as many images as the calls had, in the encoder's own batches; the images are there."""
    size = min(max(calls), encoder.batch_size)
    images = torch.rand(size, 3, encoder.resolution, encoder.resolution, device=encoder.device).to(precision)
    if images.is_cuda:  # the faster layout
        visual, images = (one.to(memory_format=torch.channels_last) for one in (visual, images))
    with torch.inference_mode():
        for count in calls:
            for start in range(0, count, encoder.batch_size):
                visual(images[: min(encoder.batch_size, count - start)])


@dataclass(frozen=True)
class Cases:
    """What is compared.

    Attributes:
        steps: the stream, the bare encoder over as many images, and the views alone.
        warm_up: the same with a stream of a single step.
        calls: the sizes of the stream's calls of the encoder, filled when it runs.
        views: K.
    """

    steps: dict[str, Callable[[], None]]
    warm_up: dict[str, Callable[[], None]]
    calls: list[int]
    views: int


def cases(size: Size) -> Cases:
    """The three cases at a size."""
    wanted = experiment()
    visual, encoder = random_encoder(size)
    recording = Recording(encoder)
    private = random_images(size.examples, encoder.resolution, wanted.dataset.classes)
    evaluation = random_images(size.test, encoder.resolution, wanted.dataset.classes)
    data = TrainingData(private, evaluation, None, None)
    settings = view_settings(wanted)

    def stream(steps: int = size.steps) -> None:
        recording.calls.clear()
        short = wanted.model_copy(update={"epochs": 1})
        these = heads(replace(size, steps=steps))
        how = {"device": size.device, "physical_batch": size.physical, "kept_bytes": 0}
        train_heads(short, these, data, Featurizer(recording), **how)

    def views() -> None:
        for call in recording.calls[1:]:
            part = np.arange(call // settings.views)
            make_views(private, part, settings, KeyedRandom(0, 0, part), device=size.device)

    steps = {STREAM: stream, BARE: lambda: bare(visual, encoder, recording.calls, size.precision), VIEWS: views}
    return Cases(steps, {**steps, STREAM: lambda: stream(1)}, recording.calls, settings.views)


def run(size: Size, rounds: int) -> str:
    """Measure, write the table, and give the line of ratios."""
    tell(f"{size.architecture}, {size.steps} steps of about {size.batch} examples")
    compared = cases(size)
    seconds = times(compared.steps, rounds, size.device, compared.warm_up)
    calls = compared.calls
    images = {STREAM: sum(calls), BARE: sum(calls), VIEWS: sum(calls[1:])}  # the first call is for the test images
    medians = write_rates("stream", seconds, images)
    faster = ratio(seconds[BARE], seconds[VIEWS]) * images[VIEWS] / images[BARE]
    wanted = experiment()
    passes = wanted.dataset.train * compared.views * wanted.epochs + wanted.dataset.test
    return (
        f"stream/encoder = {ratio(seconds[STREAM], seconds[BARE]):.3f}"
        f"  views/encoder speed = {faster:.0f}"
        f"  {wanted.epochs} epochs of {wanted.dataset.label} = {passes / images[STREAM] * medians[STREAM] / 60:.1f} min"
    )
