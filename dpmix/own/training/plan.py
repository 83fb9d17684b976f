"""`plan`: what a training run would do, spend and take, before anything is trained or written."""

import contextlib
import math
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmix.execution import Execution, usable_device
from dpmix.own.choices.encoders import encoder_folder
from dpmix.own.choices.request import Request, request
from dpmix.own.choices.setup import Setup, learning_rate_of, listed, setup, sizes
from dpmix.own.model.privacy_record import PERSONS_IMAGES
from dpmix.own.training import spent, totals
from dpmix.own.training.signal import signal
from dpmix.own.training.work import work_of, work_words
from dpmix.own.training.work_folder import SCALE
from dpmix.privacy.accounting import Steps, rounded_up
from dpmix.privacy.group_privacy import group_epsilon
from dpmix.progress import say

if TYPE_CHECKING:
    from dpmix.models.encoder import Encoder
    from dpmix.privacy.plan import Plan

_SECONDS = 2.0  # of the burst that measures speed
_BURST = 16  # images of it at a time


@dataclass(frozen=True)
class Planned:
    """What `dpmix.own.training.train.train` would do with the same arguments.

    Attributes:
        images: how many images and classes there are, in words.
        unit: who is protected.
        population: N, the published number of units.
        epsilon: ε of one unit, as asked for.
        delta: δ.
        noise_multiplier: σ.
        sampling_rate: q.
        steps: T.
        batch_size: B, the expected number of units in a step.
        views: K, views of each.
        clip_norm: C.
        learning_rate: of SGD.
        epsilon_of_several: ε of a person with so many images, by their number; infinite beyond what can be promised,
            and empty where the unit is a person.
        views_encoded: how many views pass the encoder, in expectation.
        kept_bytes: what their features take while it trains, of memory or disk; 0 if each step encodes its own.
        images_per_second: views made and encoded on this machine, as measured on random pixels.
        minutes: of encoding views and test images at this speed, and of training on their features, without decoding.
        signal: whether N, classes and ε leave something to learn, in words.
        spent: what was spent on these images already, in words; None if nothing was.
        together: ε of that and this run; None if nothing was spent.
        spent_on_tests: what released accuracies have spent on the test images, and with this one's, in words; None if
            none was released.
    """

    images: str
    unit: str
    population: int
    epsilon: float
    delta: float
    noise_multiplier: float
    sampling_rate: float
    steps: int
    batch_size: int
    views: int
    clip_norm: float
    learning_rate: float
    epsilon_of_several: dict[int, float]
    views_encoded: int
    kept_bytes: int
    images_per_second: float
    minutes: float
    signal: str
    spent: str | None
    together: float | None
    spent_on_tests: str | None

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values; an ε beyond what can be promised is null."""
        several = {str(m): value if value < float("inf") else None for m, value in self.epsilon_of_several.items()}
        return {**asdict(self), "epsilon_of_several": several}

    def lines(self) -> list[str]:
        """All of it for people."""
        unit = self.unit
        told = [
            self.images,
            f"ε = {self.epsilon:g} at δ = {self.delta:g} for one {unit}, N = {self.population:,} {unit}s",
        ]
        if self.epsilon_of_several:
            several = ", ".join(f"{m} images {_two_digits(value)}" for m, value in self.epsilon_of_several.items())
            told.append(f"ε of a person with {several}; with `unit='person'` it is {self.epsilon:g} for all of them")
        told += [
            f"noise multiplier σ {rounded_up(self.noise_multiplier, 4)}, sampling rate q {self.sampling_rate:.4g}, "
            f"steps T {self.steps}, {self.batch_size} {unit}s expected in each",
            f"{self.views} views of each {unit}, clip norm {self.clip_norm:g}, learning rate {self.learning_rate:.4g}",
            work_words(self.views_encoded, self.kept_bytes),
            f"about {_duration(self.minutes)} on this machine, at {self.images_per_second:,.0f} images/s",
            self.signal,
        ]
        if self.spent:
            told.append(f"{self.spent}; together with this run ε = {rounded_up(self.together or 0.0, 2)}")
        if self.spent_on_tests:
            told.append(self.spent_on_tests)
        return told


def _two_digits(epsilon: float) -> str:
    """ε rounded up to a tenth, or if it is smaller, to two digits."""
    smaller = 0 < epsilon < 1
    return rounded_up(epsilon, 1 - math.floor(math.log10(epsilon)) if smaller else 1)


def plan(images: str | Path, *, epsilon: float, **options: Any) -> Planned:
    """What `train` would do with the same arguments; nothing is trained or written, and no image is decoded.

    Args:
        images: a folder, zip archive or CSV file of images.
        epsilon: ε that the run may spend.
        options: further arguments of `train` that say what is trained, such as `unit`, `encoder` or `batch_size`.

    Raises:
        ParamsError, DataError, PrivacyError: as `train` does.
    """
    device = options.pop("device", None)
    asked = request(images, options.pop("output", None), epsilon=epsilon, **options)
    execution = Execution(device=usable_device(device))
    listing = listed(asked)
    made = setup(asked, listing)
    calibrated = made.plan_file().calibrated()
    with _encoder(made, execution) as encoder:
        rate = learning_rate_of(made, calibrated, encoder.dim)
        speed = images_per_second(made, encoder, execution)
        work = work_of(made, calibrated, encoder.dim)
        steps = work.trained / units_per_second(made, encoder.dim, execution)
    record = spent.Record.of(asked.images, listing, asked.ledger)
    return Planned(
        images=f"{images}: {sizes(listing, asked)}",
        unit=asked.unit,
        population=made.population,
        epsilon=asked.epsilon,
        delta=calibrated.delta,
        noise_multiplier=calibrated.noise_multiplier,
        sampling_rate=calibrated.sampling_rate,
        steps=calibrated.steps,
        batch_size=calibrated.batch_size,
        views=made.views,
        clip_norm=calibrated.clip_norm,
        learning_rate=rate,
        epsilon_of_several=_several(calibrated) if asked.unit == "image" else {},
        views_encoded=round(work.encoded),
        kept_bytes=round(work.kept),
        images_per_second=speed,
        minutes=((work.encoded + len(listing.of("test"))) / speed + steps) / 60,
        signal=signal(calibrated, classes=made.dataset.classes).sentence,
        **_spent(record, asked, calibrated),
        spent_on_tests=totals.so_far_on_test_images(record.measured(), asked.unit, asked.evaluate_epsilon),
    )


def images_per_second(made: Setup, encoder: "Encoder", execution: Execution) -> float:
    """How many views are made and encoded in a second, measured for two seconds on random pixels."""
    import numpy as np

    from dpmix.data.images import Images
    from dpmix.models.features import Featurizer
    from dpmix.random import KeyedRandom
    from dpmix.views.mixing import make_views
    from dpmix.views.settings import ViewSettings

    side, random = made.model.resolution, np.random.default_rng(0)
    shape = (_BURST, made.dataset.channels, side, side)
    pixels = Images(random.integers(0, 256, shape, dtype=np.uint8), np.zeros(_BURST, dtype=np.int64), ("a",))
    settings = ViewSettings(k_base=max(1, made.views), transforms=made.settings["transforms"])
    featurize, units = Featurizer(encoder), np.arange(_BURST)

    def step(number: int) -> int:
        views = make_views(pixels, units, settings, KeyedRandom(0, number, units), None, execution.where())
        return len(featurize(views.images.flatten(0, 1)).cpu())

    step(0)  # the first one allocates memory
    began, done, number = time.perf_counter(), 0, 1
    while time.perf_counter() - began < _SECONDS:
        done += step(number)
        number += 1
    return done / (time.perf_counter() - began)


def units_per_second(made: Setup, dimension: int, execution: Execution) -> float:
    """How many units' gradients are clipped and added up in a second, measured on random features."""
    import torch

    from dpmix.privacy.linear_heads import head_clipped_sum

    where, classes = execution.where(), made.dataset.classes
    features = torch.randn(execution.physical_batch, max(1, made.views), dimension + 1, device=where)
    targets = torch.full((*features.shape[:2], classes), 1 / classes, device=where)
    weights = torch.zeros(1, classes, dimension + 1, device=where)

    def step() -> None:
        head_clipped_sum(features, targets, weights, torch.ones(1))[1].cpu()

    step()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < _SECONDS / 4:
        step()
        done += len(features)
    return done / (time.perf_counter() - began)


@contextlib.contextmanager
def _encoder(made: Setup, execution: Execution) -> "Any":
    """The frozen encoder, from a folder that is removed again."""
    from dpmix.models.encoder_files import load_encoder

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield load_encoder(encoder_folder(made.model, SCALE, execution), execution.where())


def _several(calibrated: "Plan") -> dict[int, float]:
    steps = [Steps(calibrated.noise_multiplier, calibrated.step_rate, calibrated.steps)]
    return {images: group_epsilon(steps, images, delta=calibrated.delta) for images in PERSONS_IMAGES}


def _spent(record: spent.Record, asked: Request, calibrated: "Plan") -> dict[str, Any]:
    from dpmix.release.statement import Statement

    unit = asked.unit
    said = totals.so_far(record.runs(), unit)
    if said is None:
        if (left := totals.left_behind_words(asked.images, asked.ledger)) is not None:
            say(left)
        return {"spent": None, "together": None}
    steps = [Steps(calibrated.noise_multiplier, calibrated.step_rate, calibrated.steps)]
    more = Statement("", calibrated.population, steps, {}, calibrated.delta, unit=unit)
    return {"spent": said, "together": totals.tightest(totals.together(record.runs(), unit, [more])[0])}


def _duration(minutes: float) -> str:
    if minutes < 1.5:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
