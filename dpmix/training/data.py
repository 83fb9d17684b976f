"""The images of one experiment: those it trains on, those it mixes in, and those it is evaluated on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpmix.artefacts.experiment import Experiment
from dpmix.data.images import Images, load
from dpmix.errors import DataError
from dpmix.random import KeyedRandom
from dpmix.views.settings import ViewSettings

# Which records are held out or belong to S1 is public, and the same for every seed of an experiment.
_PARTITION_SEED = 0


@dataclass(frozen=True)
class TrainingData:
    """What one experiment trains on.

    Attributes:
        private: the N records that steps are sampled from.
        evaluation: the test set, or in a tuning run the held-out training records.
        mixed_in: the images that K_diff views are drawn from: D, or S2 for method C of Table 10; None if there are
            none.
        public: D, for standardising features and for pretraining; if only S1 is private, no more images than S1 has.
    """

    private: Images
    evaluation: Images
    mixed_in: Images | None
    public: Images | None


def load_data(experiment: Experiment, scale: str) -> TrainingData:
    """Load the image stores of an experiment and select from them what it trains, mixes and is evaluated on.

    Args:
        experiment: the run.
        scale: the name of the scale, which is part of some paths.

    Raises:
        DataError: if a store is missing or does not have its published size.
    """
    store = Path(experiment.images().path(scale)).parent
    train, test = load(store, "train"), load(store, "test")
    for split, images, published in (
        ("train", train, experiment.dataset.records),
        ("test", test, experiment.dataset.test),
    ):
        if len(images) != published:
            raise DataError(
                f"{store} has {len(images)} {split} images, not the published {published}; delete and remake it"
            )
    synthetic = experiment.synthetic_images()
    public = (
        balanced(load(Path(synthetic.path(scale)).parent, "train"), experiment.synthetic_size) if synthetic else None
    )
    order = shuffled(len(train), "subset")
    chosen, others = np.arange(len(train)), np.empty(0, dtype=np.int64)
    if experiment.subset == "S1":
        half = len(train) // 2
        chosen, others = np.sort(order[:half]), np.sort(order[half : 2 * half])
    mixed_in = public
    if experiment.mix_with == "S2":
        mixed_in = take(train, others)
    evaluation = test
    held_out = experiment.held_out_size
    if held_out:
        order = shuffled(len(chosen), "holdout")
        evaluation = take(train, np.sort(chosen[order[:held_out]]))
        chosen = np.sort(chosen[order[held_out:]])
    private = train if len(chosen) == len(train) else take(train, chosen)
    return TrainingData(private, evaluation, mixed_in, public)


def shuffled(count: int, purpose: str) -> np.ndarray:
    """A public permutation of `count` records, int64 [count], that depends on `count` and `purpose` alone."""
    keys = KeyedRandom(_PARTITION_SEED, 0, np.arange(count)).uniform(f"partition/{purpose}")
    return np.argsort(keys, kind="stable")


def balanced(images: Images, count: int) -> Images:
    """`count` images of a set (or all, if it has fewer), with the classes as equal in number as possible.

    The selection is public and the same for every experiment. A smaller selection is part of a larger one.
    """
    if count >= len(images):
        return images
    order = shuffled(len(images), "synthetic")
    labels = images.labels[order]
    by_class = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    turn = np.empty(len(labels), dtype=np.int64)
    turn[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return take(images, np.sort(order[np.lexsort((labels, turn))[:count]]))


def take(images: Images, indices: np.ndarray) -> Images:
    """The images at `indices`, int64 [m], copied into memory."""
    return Images(images.images[indices], images.labels[indices], images.classes)


def view_settings(experiment: Experiment) -> ViewSettings:
    """The settings of an experiment's views."""
    return experiment.view_settings
