"""Measures the Fréchet distances of Tables 7 and 8, between splits, D, and the views that training would see."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dpmix.artefacts.data import EncoderModel, ImageStore, SyntheticStore
from dpmix.artefacts.made_of import inputs_of
from dpmix.artefacts.measurements import Distance
from dpmix.data.images import Images, batches, load
from dpmix.execution import DEFAULT, Execution
from dpmix.provenance import versions
from dpmix.random import KeyedRandom
from dpmix.seals import write_record
from dpmix.training.data import view_settings
from dpmix.views.mixing import make_views

_BATCH = 256


def measure(distances: Sequence[Distance], scale: str, execution: Execution = DEFAULT) -> None:
    """Measure distances and write a JSON file for each.

    Args:
        distances: which.
        scale: the name of the scale.
        execution: how to compute.

    Raises:
        DataError: if images or an extractor are missing or damaged.
    """
    from dpmix.evaluation.frechet import frechet_distance

    device = execution.where()
    for distance in distances:
        first, second = (_images(distance, what, scale, device) for what in (distance.first, distance.second))
        weights = None if distance.extractor else distance.inception_weights().path(scale)
        extractor = _extractor(distance, scale, execution)
        result = frechet_distance(second, first, extractor, inception=weights)
        write_record(
            distance.path(scale),
            {
                "distance": result.value,
                "first": {"what": distance.first, "images": result.other_count},
                "second": {"what": distance.second, "images": result.real_count},
                # As a relative path, which is the same on every machine.
                "extractor": _folder(distance, scale).as_posix() if distance.extractor else result.extractor,
                "distance_spec": distance.model_dump(mode="json"),
                "inputs": inputs_of(distance, scale),
                "versions": versions(),
            },
        )


def _folder(distance: Distance, scale: str) -> Path:
    assert distance.extractor is not None
    return EncoderModel(encoder=distance.extractor).path(scale).parent


def _extractor(distance: Distance, scale: str, execution: Execution) -> Any:
    if distance.extractor is None:
        return "inception"
    from dpmix.models.encoder_files import shared_encoder

    return shared_encoder(_folder(distance, scale), execution)


def _images(distance: Distance, what: str, scale: str, device: str) -> Iterator[Tensor]:
    """One of the two sets in batches, float32 [m, C, R, R] in [0, 1]."""
    private = ImageStore(dataset=distance.dataset, resolution=distance.resolution).path(scale).parent
    d = None
    if distance.synthetic is not None and (what == "synthetic" or (distance.views and distance.views.k_diff)):
        d = load(
            SyntheticStore(synthetic=distance.synthetic, resolution=distance.resolution).path(scale).parent, "train"
        )
    if what == "views":
        return _views(distance, load(private, "train"), d, device)
    if what == "synthetic":
        assert d is not None
        return batches(d, _BATCH, device, distance.samples)
    return batches(load(private, what), _BATCH, device, distance.samples)


def _views(distance: Distance, private: Images, d: Images | None, device: str) -> Iterator[Tensor]:
    """Every view of every training image (or of the first `samples`), as the first step of training would make them."""
    assert distance.views is not None
    settings = view_settings(distance.views)
    count = min(distance.samples or len(private), len(private))
    size = max(1, _BATCH // settings.views)
    for start in range(0, count, size):
        indices = np.arange(start, min(start + size, count))
        random = KeyedRandom(distance.seed, 0, indices)
        yield make_views(private, indices, settings, random, d, device).images.flatten(0, 1)
