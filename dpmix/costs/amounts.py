"""Counts the images that go through a model, and the bytes that artefacts take on disk."""

from collections.abc import Sequence
from pathlib import Path

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import DiffusionModel, EncoderModel, ImageStore, SyntheticSet, SyntheticStore
from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.measurements import Distance
from dpmix.artefacts.repeated import sampled
from dpmix.costs.operations import DIFFUSION, FLOAT32, encoder_parameters
from dpmix.data.archives import place_of, source_of
from dpmix.models.photographs import CROPS
from dpmix.params.models import EncoderSpec
from dpmix.params.specs import DatasetSpec, GivenImagesSpec
from dpmix.views.sets import sets_encoded
from dpmix.views.union import ViewUnion

DATA = (ImageStore, SyntheticStore, SyntheticSet, EncoderModel, DiffusionModel)


def views_trained(*experiments: Experiment) -> float:
    """The expected number of views that pass in the whole runs of one stream, if crops that come again pass again.

    T steps x q N sampled examples x their views; of heads with R sets of views (`view_sets`), N examples x the sets
    that are encoded x their views, as each is encoded once if there is room, on one process.

    Args:
        experiments: one run of each method that shares the stream. Their examples have the union of their views.
    """
    first = experiments[0]
    plan = sampled(first)
    shown = plan.steps * plan.sampling_rate
    view_sets = min(one.view_sets for one in experiments) if first.model.frozen else 0
    once = sets_encoded(plan.sampling_rate, plan.steps, view_sets, first.release)
    return (shown if once is None else once) * plan.units * _views_of_a_unit(experiments)


def _views_of_a_unit(experiments: Sequence[Experiment]) -> float:
    """The views of one unit: those of an example; of a microbatch, its examples' views, their mixtures, or both."""
    first = experiments[0]
    if first.microbatch_size > 1:
        own = first.microbatch_size * first.k_base
        return {"none": own, "added": own + first.k_base, "alone": first.k_base}[first.microbatch_mixup]
    if first.release or not first.model.frozen:
        return first.views
    return ViewUnion.of([one.wanted_views() for one in experiments], by_person=first.unit == "person").views


def evaluation_passes(*experiments: Experiment) -> int:
    """The number of images without augmentation that go through the model, in addition to the views.

    A frozen encoder sees the test set once, D or public photographs once if features are standardised by them, and D
    once more for each method whose heads are pretrained on it (its features are not kept); a network from scratch sees
    the test set after each epoch.

    Args:
        experiments: one run of each method that shares the stream.
    """
    first = experiments[0]
    tested = first.held_out_size or first.dataset.test
    if not isinstance(first.model, EncoderSpec):
        return tested * first.begun_epochs
    of_d = first.synthetic_size if first.model.standardize == "public" else 0
    of_d += sum(one.synthetic_size for one in experiments if one.pretrain_epochs)
    return tested + of_d + (CROPS if first.model.standardize == "encoder" else 0)


def distance_passes(distance: Distance) -> int:
    """The number of images that go through the extractor for a Fréchet distance, of both sets together."""
    sizes = {
        "train": distance.dataset.records,
        "test": distance.dataset.test,
        "synthetic": distance.synthetic.size if distance.synthetic else 0,
        "views": distance.dataset.records,
    }
    first, second = (min(sizes[side], distance.samples or sizes[side]) for side in (distance.first, distance.second))
    return first * (distance.views.views if distance.views else 1) + second


def disk(artefact: Artefact) -> tuple[str, int]:
    """The size of an artefact of one of the kinds in `DATA`.

    Returns:
        Its category in `Estimate.disk`, and its bytes. Images of D are counted uncompressed; as PNG they are smaller.
    """
    if isinstance(artefact, ImageStore):
        dataset = artefact.dataset
        return "images", (dataset.records + dataset.test) * _record(dataset.channels, artefact.resolution)
    if isinstance(artefact, SyntheticStore):
        d = artefact.synthetic
        return "images", d.size * _record(d.dataset.channels, artefact.resolution)
    if isinstance(artefact, SyntheticSet):
        if isinstance(artefact.diffusion, GivenImagesSpec):
            return "synthetic", 0  # copies of given files, whose size is not known here
        side = artefact.diffusion.saved_resolution or artefact.diffusion.resolution
        return "synthetic", artefact.size * 3 * side**2
    if isinstance(artefact, EncoderModel):
        return "weights", encoder_parameters(artefact.encoder.architecture) * FLOAT32
    assert isinstance(artefact, DiffusionModel)
    return "weights", DIFFUSION[artefact.model].parameters * FLOAT32 if artefact.model in DIFFUSION else 0


def download(dataset: DatasetSpec, missing_only: bool = True, raw: Path = Path("data/raw")) -> int:
    """The bytes that a published data set takes: its archives, and as much again for their unpacked contents.

    Args:
        dataset: the data set.
        missing_only: count nothing if it is unpacked already.
        raw: the folder of downloads.
    """
    if dataset.source != "torchvision":
        return 0
    source = source_of(dataset.name)
    place = place_of(dataset.name, raw, dataset.checksums)
    if missing_only and all((place / folder).exists() for folder in source.folders):
        return 0
    return 2 * sum(archive.megabytes for archive in source.archives) * 10**6


def _record(channels: int, resolution: int) -> int:
    return channels * resolution**2 + 8  # a label is an int64
