"""One pass for several methods, beside the encoder alone over as many images, and a pass for each method.

The methods are the four of the paper's Table 3 on CIFAR-10 (Mixed Ghost, Self-Aug, DP-Mix_Self, DP-Mix_Diff), with 4 ε
and 10 learning rates each: 160 heads. As in `benchmarks.stream`, only the numbers of images are small, pixels are
noise, and the encoder's weights are random. What is measured is a pass, so no features are kept. On a processor its own
time is counted, as others may wait for it too.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.measure import ratio, tell, times, write_rates
from benchmarks.stream import NOISE_MULTIPLIERS, Recording, Size, bare, plan, random_encoder, random_images
from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.models.features import Featurizer
from dpmix.params.read import read
from dpmix.training.data import TrainingData
from dpmix.training.heads import Head, Method, train_methods
from dpmix.views.union import ViewUnion

LEARNING_RATES = tuple(2.0**power for power in range(-4, 6))

UNION, ALONE = "four methods, 160 heads, one pass", "a pass for each method"
BARE, FOLDED = "the encoder's bare forward pass", "the same, as dpmix prepares the network"

CPU = Size(examples=8, batch=4, steps=2, test=2, physical=4, architecture="timm/tf_efficientnet_lite0")
# B is the paper's; 12 steps of the 500.
GPU = Size(examples=50000, batch=1000, steps=12, test=512, physical=64, device="cuda", precision=torch.bfloat16)


def experiments() -> list[Experiment]:
    """The methods of Table 3 on CIFAR-10, as `params.yaml` has them at the paper's scale; one run of each."""
    found: dict[str, Experiment] = {}
    for cell in Catalogue(read("params.yaml"), "paper").cells("3"):
        for one in cell.artefacts:
            if isinstance(one, Experiment) and (one.dataset.name, one.model.name) == ("cifar-10", "vit-b-16"):
                found.setdefault(one.method, one)
    return list(found.values())


def heads(size: Size) -> list[Head]:
    """4 noise multipliers × 10 learning rates, of which those of one noise multiplier have the same noise."""
    return [Head(plan(size, noise), rate, f"{noise:g}") for noise in NOISE_MULTIPLIERS for rate in LEARNING_RATES]


@dataclass(frozen=True)
class Cases:
    """What is compared.

    Attributes:
        steps: one pass, the bare encoder over as many images, the same network with its norms folded as this package
            does it on a processor, and a pass for each method.
        warm_up: one pass of a single step, and nothing else.
        calls: the sizes of the union's calls of the encoder, filled when it runs.
        apart: of all calls of the passes for each method.
        views: of each method.
        union: the expected number of different views of an example.
    """

    steps: dict[str, Callable[[], None]]
    warm_up: dict[str, Callable[[], None]]
    calls: list[int]
    apart: list[int]
    views: list[int]
    union: float


def cases(size: Size) -> Cases:
    """The four cases at a size."""
    wanted = experiments()
    visual, encoder = random_encoder(size)
    together, apart = Recording(encoder), Recording(encoder)
    classes = wanted[0].dataset.classes
    private, evaluation, synthetic = (
        random_images(count, encoder.resolution, classes) for count in (size.examples, size.test, size.examples)
    )
    data = TrainingData(private, evaluation, synthetic, synthetic)

    how: dict[str, Any] = {"device": size.device, "physical_batch": size.physical, "kept_bytes": 0}

    def methods(steps: int) -> list[Method]:
        these = heads(replace(size, steps=steps))
        return [Method(one.model_copy(update={"epochs": 1}), data, these) for one in wanted]

    def one_pass(steps: int = size.steps) -> None:
        together.calls.clear()
        train_methods(methods(steps), Featurizer(together), **how)

    def each(steps: int = size.steps) -> None:
        apart.calls.clear()
        for method in methods(steps):
            train_methods([method], Featurizer(apart), **how)

    def prepared() -> None:
        for count in together.calls:
            encoder(torch.rand(count, 3, encoder.resolution, encoder.resolution, device=size.device))

    steps: dict[str, Callable[[], None]] = {
        UNION: one_pass,
        BARE: lambda: bare(visual, encoder, together.calls, size.precision),
        FOLDED: prepared,
        ALONE: each,
    }
    warm_up = {**steps, UNION: lambda: one_pass(1), ALONE: lambda: each(1)}
    union = ViewUnion.of([one.wanted_views() for one in wanted]).views
    return Cases(steps, warm_up, together.calls, apart.calls, [one.views for one in wanted], union)


def run(size: Size, rounds: int) -> str:
    """Measure, write the table, and give the line of ratios."""
    tell(f"{size.architecture}, {size.steps} steps of about {size.batch} examples")
    compared = cases(size)
    clock = time.process_time if size.device == "cpu" else time.perf_counter
    seconds = times(compared.steps, rounds, size.device, compared.warm_up, clock)
    images = dict.fromkeys(seconds, sum(compared.calls)) | {ALONE: sum(compared.apart)}
    least = [min(two) for two in zip(seconds[BARE], seconds[FOLDED], strict=True)]
    write_rates("union", seconds, images)
    return (
        f"union/encoder = {ratio(seconds[UNION], least):.3f}"
        f"  apart/union = {ratio(seconds[ALONE], seconds[UNION]):.2f}"
        f"  views {sum(compared.views)} to {compared.union:.1f}"
    )
