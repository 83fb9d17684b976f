"""What the tables of a scale will cost, counted before anything is spent.

What is counted is what `dpmix.jobs.jobs` would run: the jobs, in each the streams of views, in each stream

    T (steps) x q N (records sampled at each) x K (views of a record)

images through the model, and those of the test set, and of D where features are standardised or pretrained by it. An
image costs the floating-point operations of the real architecture, which is built without memory on torch's meta
device. Linear heads add a hundred-thousandth of that and are left out, and so are decoding and augmenting. Time is
operations over speed: a GPU's published peak times a stated utilisation, or what was measured.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpmix.archives import SOURCES
from dpmix.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.experiment import (
    Artefact,
    DiffusionModel,
    Distance,
    EncoderModel,
    Experiment,
    GradientRecord,
    ImageStore,
    Selection,
    SyntheticSet,
    SyntheticStore,
    ZeroShot,
)
from dpmix.jobs import jobs, needed_for
from dpmix.params import DatasetSpec, DiffusionSpec, EncoderSpec, GivenImagesSpec, ModelSpec, WideResNetSpec, known
from dpmix.privacy.plan import Plan

INCEPTION = "inception"
DATA = (ImageStore, SyntheticStore, SyntheticSet, EncoderModel, DiffusionModel)
FLOAT32 = 4  # bytes; weights are stored in full precision


@dataclass(frozen=True)
class Gpu:
    """A GPU's published peaks, dense (without sparsity), in TFLOP/s.

    `half` is bfloat16 with float32 sums (float16 before Ampere), for frozen networks; `single` is float32 on tensor
    cores (TF32) where the GPU has it, for networks trained from scratch, whose gradient norms need it.
    """

    half: float
    single: float


# NVIDIA's data sheets.
GPUS = {
    "a10": Gpu(125, 62.5),
    "a100": Gpu(312, 156),
    "a6000": Gpu(154.8, 77.4),
    "h100": Gpu(989, 494),
    "h100-pcie": Gpu(756, 378),
    "h200": Gpu(989, 494),
    "l4": Gpu(121, 60),
    "l40s": Gpu(362, 183),
    "rtx3090": Gpu(71, 35.6),
    "rtx4090": Gpu(165.2, 82.6),
    "t4": Gpu(65, 8.1),
    "v100": Gpu(125, 15.7),
}


@dataclass(frozen=True)
class Diffusion:
    """One step of a text-to-image model at 512 px, what comes once per image, and its size on disk."""

    step: float
    once: float
    parameters: int


# Counted with torch.utils.flop_counter on diffusers' and transformers' classes in the configurations of the repository:
# one U-Net pass over latents of 64 x 64 with a caption of 77 tokens 803 GFLOP; decoder 2,515; text encoder 13; safety
# checker (CLIP ViT-L/14 at 224 px) 162. Parameters 860 + 84 + 123 + 304 million. A test counts U-Net and decoder again.
DIFFUSION = {"CompVis/stable-diffusion-v1-4": Diffusion(803e9, 2515e9 + 13e9 + 162e9, 1_370_000_000)}
_COUNTED_AT = 512


@dataclass(frozen=True)
class Cost:
    """One image through a network: floating-point operations forward, and forward and backward."""

    forward: float
    training: float


@dataclass
class Estimate:
    """What one target, or several together, need.

    Attributes:
        target: `table9`, `figure2`, or a name for several.
        runs: models to train, gradient records included.
        selections: learning rates to choose.
        distances: Fréchet distances to measure.
        jobs: of training, selection, zero-shot classification and distances.
        streams: passes over views that heads share.
        passes: images through each model, by its name in the params; `inception` for FID's, and for a text-to-image
            model the images drawn.
        flops: floating-point operations by model; a model whose cost cannot be counted is missing.
        disk: bytes by kind: `downloads`, `images`, `synthetic`, `weights`.
    """

    target: str
    runs: int = 0
    selections: int = 0
    distances: int = 0
    jobs: int = 0
    streams: int = 0
    passes: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    flops: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    disk: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add_passes(self, model: str, images: float, costs: "Costs") -> None:
        """Count images that go forward through a model."""
        self.passes[model] += images
        cost = costs.of(model)
        if cost is not None:
            self.flops[model] += images * cost.forward

    def add_stream(self, experiment: Experiment, costs: "Costs") -> None:
        """Count a stream of views, whatever heads share it."""
        name, trained, evaluated = experiment.model.name, views_trained(experiment), evaluation_passes(experiment)
        self.streams += 1
        if isinstance(experiment.model, EncoderSpec):
            self.add_passes(name, trained + evaluated, costs)
            return
        cost = network_cost(experiment.model, experiment.dataset.channels, experiment.dataset.classes)
        self.passes[name] += trained + evaluated
        self.flops[name] += trained * cost.training + evaluated * cost.forward

    def add_job(self, artefacts: Iterable[Artefact], costs: "Costs") -> None:
        """Count a job of training, selection, zero-shot classification or distances."""
        self.jobs += 1
        streams: dict[str, Experiment] = {}
        for artefact in artefacts:
            if isinstance(artefact, Distance):
                self.distances += 1
                extractor = artefact.extractor.name if artefact.extractor else INCEPTION
                self.add_passes(extractor, distance_passes(artefact), costs)
                continue
            if isinstance(artefact, ZeroShot):
                self.add_passes(artefact.model.name, artefact.dataset.test, costs)
                continue
            assert isinstance(artefact, Experiment | Selection | GradientRecord)
            self.selections += isinstance(artefact, Selection)
            self.runs += not isinstance(artefact, Selection)
            experiment = artefact if isinstance(artefact, Experiment) else artefact.experiment
            streams[experiment.stream()] = experiment
        for experiment in streams.values():
            self.add_stream(experiment, costs)


@dataclass(frozen=True)
class Speed:
    """How fast the models run.

    Attributes:
        gpu: whose peaks count.
        utilization: the share of the peak that is reached.
        measured: images per second by model, which replaces both; for a network from scratch, images trained on.
        achieved: TFLOP/s of every other model, which replaces both.
    """

    gpu: Gpu
    utilization: float = 0.4
    measured: Mapping[str, float] = field(default_factory=dict)
    achieved: float | None = None

    def per_second(self, model: str, costs: "Costs") -> float:
        """Floating-point operations per second of one model."""
        if model in self.measured:
            return self.measured[model] * costs.unit(model)
        if self.achieved is not None:
            return self.achieved * 1e12
        peak = self.gpu.single if costs.from_scratch(model) else self.gpu.half
        return peak * 1e12 * self.utilization

    def hours(self, estimate: Estimate, costs: "Costs") -> dict[str, float]:
        """GPU hours by model; a model that can neither be counted nor was measured is missing."""
        made: dict[str, float] = {}
        for model, passes in estimate.passes.items():
            if model in estimate.flops:
                made[model] = estimate.flops[model] / self.per_second(model, costs) / 3600
            elif model in self.measured:
                made[model] = passes / self.measured[model] / 3600
        return made


class Costs:
    """The cost of one image through each model of a scale, counted when first asked for."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._models: dict[str, ModelSpec] = dict(catalogue.params.models)
        self._diffusion = {
            name: spec for name, spec in catalogue.params.diffusion.items() if isinstance(spec, DiffusionSpec)
        }

    def names(self) -> list[str]:
        """All models that may be named in an estimate."""
        return [*self._models, *self._diffusion, INCEPTION]

    def from_scratch(self, model: str) -> bool:
        """Whether a model is trained from scratch."""
        return isinstance(self._models.get(model), WideResNetSpec)

    def of(self, model: str) -> Cost | None:
        """The cost of one image; None for a text-to-image model that this module does not know."""
        if model == INCEPTION:
            return inception_cost()
        if model in self._diffusion:
            flops = drawing_flops(self._diffusion[model])
            return None if flops is None else Cost(flops, flops)
        spec = self._models[model]
        if isinstance(spec, EncoderSpec):
            return encoder_cost(spec.architecture)
        # The number of channels and classes is nothing beside the rest.
        return network_cost(spec, channels=3, classes=10)

    def unit(self, model: str) -> float:
        """Operations of what is timed: one image trained on if the model is from scratch, else one image forward."""
        cost = self.of(model)
        if cost is None:
            return 0.0
        return cost.training if self.from_scratch(model) else cost.forward


def estimates(
    catalogue: Catalogue, targets: Sequence[str] | None = None, *, costs: Costs | None = None, missing_only: bool = True
) -> list[Estimate]:
    """An estimate for each target and, after several, for all of them together: there shared work counts once.

    Args:
        catalogue: the scale.
        targets: such as `table9` and `figure2`, each made by a call of its own, then all by one; None is everything.
        costs: counts operations; one that is passed again keeps what it has counted.
        missing_only: leave out what is on disk, as Snakemake does.

    Raises:
        ParamsError: for an unknown target, or an encoder that does not exist.
    """
    wanted = [known(target, catalogue.targets, "target") for target in dict.fromkeys(targets or catalogue.targets)]
    counting = _Counting(catalogue, costs or Costs(catalogue), missing_only)
    rows = [counting.estimate(target, frozenset({target})) for target in wanted]
    if len(rows) == 1:
        return rows
    return [*rows, counting.estimate("all" if targets is None else "together", frozenset(wanted))]


class _Counting:
    """What is to be made at a scale, and which targets need it."""

    def __init__(self, catalogue: Catalogue, costs: Costs, missing_only: bool) -> None:
        self._catalogue, self._costs, self._missing_only = catalogue, costs, missing_only
        self._files = [
            (artefact, catalogue.needed_by[path])
            for path, artefact in catalogue.artefacts.items()
            if isinstance(artefact, DATA) and not (missing_only and Path(path).exists())
        ]

    def estimate(self, name: str, targets: frozenset[str]) -> Estimate:
        """What one call for these targets makes."""
        made, fetched = Estimate(name), set()
        needed = needed_for(self._catalogue, targets)
        for kinds in ((Selection,), (Experiment, GradientRecord), (ZeroShot,), (Distance,)):
            for job in jobs(self._catalogue, *kinds, needed=needed, missing_only=self._missing_only):
                made.add_job(job.artefacts, self._costs)
        for artefact, needed_by in self._files:
            if not targets & needed_by:
                continue
            kind, size = disk(artefact)
            made.disk[kind] += size
            if isinstance(artefact, SyntheticSet) and isinstance(artefact.diffusion, DiffusionSpec):
                made.add_passes(artefact.diffusion.name, artefact.size, self._costs)
            if isinstance(artefact, ImageStore):
                fetched.add(artefact.dataset)
        made.disk["downloads"] += sum(download(dataset, self._missing_only) for dataset in fetched)
        return made


def run_hours(experiment: Experiment, speed: Speed, costs: Costs) -> float:
    """GPU hours of the stream of one run, which the stream's other heads share."""
    alone = Estimate(experiment.method)
    alone.add_stream(experiment, costs)
    return sum(speed.hours(alone, costs).values())


def views_trained(experiment: Experiment) -> float:
    """Expected views over a whole run: T steps, q units sampled at each, and a unit's views."""
    plan = Plan.make(
        population=experiment.population,
        batch_size=experiment.batch_size,
        epochs=experiment.epochs,
        clip_norm=experiment.clip_norm,
        noise_multiplier=1.0,
        delta=experiment.delta,
        microbatch_size=experiment.microbatch_size,
    )
    return plan.steps * plan.sampling_rate * plan.units * _views_of_a_unit(experiment)


def _views_of_a_unit(experiment: Experiment) -> int:
    """K; for a microbatch, its examples' views, with their mixtures or replaced by these."""
    if experiment.microbatch_size == 1:
        return experiment.views
    own = experiment.microbatch_size * experiment.k_base
    return {"none": own, "added": own + experiment.k_base, "alone": experiment.k_base}[experiment.microbatch_mixup]


def evaluation_passes(experiment: Experiment) -> int:
    """Plain images through the model beside the views.

    A frozen encoder sees the test set once, D once if features are standardised by it, and D once more if the head is
    pretrained on it (its features are not kept); a network from scratch sees the test set after each epoch.
    """
    tested = experiment.held_out_size or experiment.dataset.test
    if isinstance(experiment.model, WideResNetSpec):
        return tested * experiment.epochs
    of_d = (experiment.model.standardize == "public") + (experiment.pretrain_epochs > 0)
    return tested + of_d * experiment.synthetic_size


def distance_passes(distance: Distance) -> int:
    """Images through the extractor, on both sides of a Fréchet distance."""
    sizes = {
        "train": distance.dataset.train,
        "test": distance.dataset.test,
        "synthetic": distance.synthetic.size if distance.synthetic else 0,
        "views": distance.dataset.train,
    }
    first, second = (min(sizes[side], distance.samples or sizes[side]) for side in (distance.first, distance.second))
    return first * (distance.views.views if distance.views else 1) + second


def disk(artefact: Artefact) -> tuple[str, int]:
    """What an artefact of `DATA` is, and its bytes. Images drawn are counted uncompressed; PNG is smaller."""
    if isinstance(artefact, ImageStore):
        dataset = artefact.dataset
        return "images", (dataset.train + dataset.test) * _record(dataset.channels, artefact.resolution)
    if isinstance(artefact, SyntheticStore):
        d = artefact.synthetic
        return "images", d.size * _record(d.dataset.channels, artefact.resolution)
    if isinstance(artefact, SyntheticSet):
        if isinstance(artefact.diffusion, GivenImagesSpec):
            return "synthetic", 0  # copied; nobody has said how large the files are
        side = artefact.diffusion.saved_resolution or artefact.diffusion.resolution
        return "synthetic", artefact.size * 3 * side**2
    if isinstance(artefact, EncoderModel):
        return "weights", encoder_parameters(artefact.encoder.architecture) * FLOAT32
    assert isinstance(artefact, DiffusionModel)
    return "weights", DIFFUSION[artefact.model].parameters * FLOAT32 if artefact.model in DIFFUSION else 0


def download(dataset: DatasetSpec, missing_only: bool = True, raw: Path = Path("data/raw")) -> int:
    """Bytes of a published data set: the archives, and what is unpacked beside them; pictures hardly compress."""
    if dataset.source != "torchvision":
        return 0
    source = SOURCES[dataset.name]
    if missing_only and all((raw / folder).exists() for folder in source.folders):
        return 0
    return 2 * sum(archive.megabytes for archive in source.archives) * 10**6


def _record(channels: int, resolution: int) -> int:
    return channels * resolution**2 + 8  # a label is an int64


# Operations -------------------------------------------------------------------------------------------------------


def _count(run: Callable[[], Any]) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


@functools.cache
def network_cost(spec: WideResNetSpec, channels: int, classes: int) -> Cost:
    """One image [1, channels, R, R] through a wide residual network, a multiply-add being two operations."""
    import torch

    from dpmix.models.wide_resnet import WideResNet

    with torch.device("meta"):
        model = WideResNet(spec, channels, classes)
        image = torch.empty(1, channels, spec.resolution, spec.resolution)
    return Cost(_count(lambda: model(image)), _count(lambda: model(image).sum().backward()))


@functools.cache
def encoder_cost(architecture: str) -> Cost:
    """One image through an encoder's image tower; it is never trained.

    Raises:
        ParamsError: no such architecture.
    """
    import torch

    visual, side, _ = _encoder(architecture)
    image = torch.empty(1, 3, side, side, device="meta")
    forward = _count(lambda: visual(image))
    return Cost(forward, forward)


def encoder_parameters(architecture: str) -> int:
    """Numbers in an encoder's weights, the text tower's among them."""
    return _encoder(architecture)[2]


@functools.cache
def _encoder(architecture: str) -> tuple[Any, int, int]:
    """The image tower on the meta device, the side in pixels that it sees, and the whole model's parameters."""
    import torch

    from dpmix.models.encoders import skeleton

    model, visual, side = skeleton(architecture, torch.device("meta"))
    return visual, side, sum(parameter.numel() for parameter in model.parameters())


@functools.cache
def inception_cost() -> Cost:
    """One image through InceptionV3 at 299 px."""
    import torch
    from torchvision.models import inception_v3

    with torch.device("meta"):
        model = inception_v3(weights=None, init_weights=False, aux_logits=False).eval()
        image = torch.empty(1, 3, 299, 299)
    forward = _count(lambda: model(image))
    return Cost(forward, forward)


def drawing_flops(spec: DiffusionSpec) -> float | None:
    """Operations of one image: the steps (twice under guidance) and the rest, scaled by the number of pixels.

    None for a model that is not in `DIFFUSION`. Attention grows faster than the pixels, so this is right at 512 px,
    somewhat high below and low above.
    """
    if spec.model not in DIFFUSION:
        return None
    counted = DIFFUSION[spec.model]
    passes = spec.steps * (2 if spec.guidance_scale > 1 else 1)
    return (passes * counted.step + counted.once) * (spec.resolution / _COUNTED_AT) ** 2


# Reading the command's options ------------------------------------------------------------------------------------


def speed(gpu: str, utilization: float, throughput: Sequence[str], costs: Costs) -> Speed:
    """The `Speed` that the options of `dpmix plan` describe.

    Args:
        gpu: a name in `GPUS`.
        utilization: in (0, 1].
        throughput: `MODEL=IMAGES_PER_SECOND`, or one plain number, TFLOP/s of every other model.
        costs: knows the models.

    Raises:
        ParamsError: for an unknown GPU or model, or a number that is none.
    """
    if gpu not in GPUS:
        raise ParamsError(f"unknown GPU {gpu!r}; there are {', '.join(GPUS)}, or give --throughput as measured")
    if not 0 < utilization <= 1:
        raise ParamsError(f"utilization {utilization:g} is not in (0, 1]; 0.4 is usual")
    measured: dict[str, float] = {}
    achieved = None
    for text in throughput:
        model, equals, rate = text.rpartition("=")
        try:
            value = float(rate)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise ParamsError(f"throughput {text!r} is not MODEL=IMAGES_PER_SECOND or a number of TFLOP/s above 0")
        if equals:
            measured[known(model, costs.names(), "model in --throughput")] = value
        else:
            achieved = value
    return Speed(GPUS[gpu], utilization, measured, achieved)
