"""Whole runs that keep features of crops that come again, beside the same runs that encode each crop each time.

The methods are the four of the paper's Table 3 on CIFAR-10 with their own settings and ten epochs, so that as large a
share of their views comes again as at the paper's scale; only the numbers of images are small, pixels are noise, and
the encoder's weights are random. On a processor its own time is counted, as others may wait for it too.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from benchmarks.measure import ratio, tell, times, write_rates
from benchmarks.stream import Recording, Size, random_encoder, random_images
from benchmarks.union import experiments, heads
from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.repeated import examples_shown, plain_views, views_saved
from dpmix.execution import KEPT_BYTES
from dpmix.models.features import Featurizer
from dpmix.training.data import TrainingData
from dpmix.training.heads import Method, train_methods
from dpmix.views.union import ViewUnion

KEPT, ANEW = "crops that come again are kept", "every crop is encoded each time"

# Steps are those of ten epochs.
CPU = Size(examples=4, batch=1, steps=40, test=2, physical=4, architecture="timm/tf_efficientnet_lite0")
GPU = Size(examples=1000, batch=50, steps=200, test=512, physical=64, device="cuda", precision=torch.bfloat16)


@dataclass(frozen=True)
class Cases:
    """What is compared.

    Attributes:
        steps: the two runs.
        warm_up: a step of each.
        calls: of each case the sizes of its calls of the encoder, filled when it runs.
        counted: the share of the pictures that is expected to be encoded where crops are kept.
    """

    steps: dict[str, Callable[[], None]]
    warm_up: dict[str, Callable[[], None]]
    calls: dict[str, list[int]]
    counted: float


def small(run: Experiment, size: Size) -> Experiment:
    """The run on few images, in as many steps."""
    dataset = run.dataset.model_copy(update={"train": size.examples, "test": size.test})
    synthetic = run.synthetic and run.synthetic.model_copy(update={"size": size.examples})
    epochs = max(1, size.steps * size.batch // size.examples)
    changes = {"dataset": dataset, "synthetic": synthetic, "batch_size": size.batch, "epochs": epochs}
    return run.model_copy(update=changes)


def cases(size: Size) -> Cases:
    """The two cases at a size."""
    wanted = [small(run, size) for run in experiments()]
    _, encoder = random_encoder(size)
    recordings = {name: Recording(encoder) for name in (KEPT, ANEW)}
    private, evaluation, synthetic = (
        random_images(count, encoder.resolution, wanted[0].dataset.classes)
        for count in (size.examples, size.test, size.examples)
    )
    data = TrainingData(private, evaluation, synthetic, synthetic)

    def run(name: str, steps: int) -> None:
        recordings[name].calls.clear()
        these = heads(replace(size, steps=steps))
        train_methods(
            [Method(one, data, these) for one in wanted],
            Featurizer(recordings[name]),
            device=size.device,
            physical_batch=size.physical,
            kept_bytes=KEPT_BYTES if name == KEPT else 0,
        )

    views = examples_shown(wanted[0]) * ViewUnion.of([one.wanted_views() for one in wanted]).views
    (saved,) = views_saved([plain_views(wanted)], KEPT_BYTES)
    return Cases(
        {name: lambda name=name: run(name, size.steps) for name in recordings},  # type: ignore[misc]
        {name: lambda name=name: run(name, 1) for name in recordings},  # type: ignore[misc]
        {name: recording.calls for name, recording in recordings.items()},
        1 - saved / views,
    )


def run(size: Size, rounds: int) -> str:
    """Measure, write the table, and give the line of ratios."""
    tell(f"{size.architecture}, {size.examples} examples, {size.steps} steps of about {size.batch}")
    compared = cases(size)
    clock = time.process_time if size.device == "cpu" else time.perf_counter
    seconds = times(compared.steps, rounds, size.device, compared.warm_up, clock)
    images = {name: sum(calls) for name, calls in compared.calls.items()}
    write_rates("crops", seconds, images)
    return (
        f"kept/anew = {ratio(seconds[KEPT], seconds[ANEW]):.3f}"
        f"  images {images[KEPT] / images[ANEW]:.3f}  counted {compared.counted:.3f}"
    )
