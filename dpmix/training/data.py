"""The images of one experiment: those it trains on, those it mixes in, and those it is evaluated on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dpmix.artefacts.experiment import Experiment
from dpmix.data.images import Images, load, split_is_given
from dpmix.data.persons import Persons
from dpmix.data.splits import drawn_for_a_release
from dpmix.errors import DataError, PrivacyError
from dpmix.privacy.plan import Plan
from dpmix.random import KeyedRandom
from dpmix.views.settings import ViewSettings

# Which records are held out or belong to S1 is public, and the same for every seed of an experiment.
_PARTITION_SEED = 0


@dataclass(frozen=True)
class TrainingData:
    """What one experiment trains on.

    Attributes:
        private: the images that are trained on: the N records that steps are sampled from, or those of N persons.
        evaluation: the test set, or in a tuning run the held-out training records.
        mixed_in: the images that K_diff views are drawn from: D, or S2 for method C of Table 10; None if there are
            none.
        public: D, for standardising features and for pretraining; if only S1 is private, no more images than S1 has.
        persons: which of the private images each of N persons has, if steps sample persons; None if they sample images.
        private_places: int64 [N], which image of its store each private one is; None if they are all, in order.
        mixed_in_places: the same for `mixed_in`.
    """

    private: Images
    evaluation: Images
    mixed_in: Images | None
    public: Images | None
    persons: Persons | None = None
    private_places: np.ndarray | None = None
    mixed_in_places: np.ndarray | None = None

    def check_unit(self, experiment: Experiment, plan: Plan) -> None:
        """Check that what is sampled is what the plan protects, images or persons, and for persons that it is all N.

        Raises:
            PrivacyError: if it is not.
        """
        sampled = "image" if self.persons is None else "person"
        if not sampled == plan.unit == experiment.unit:
            raise PrivacyError(
                f"the run is for each {experiment.unit}, the plan protects each {plan.unit} and the data are sampled "
                f"by {sampled}; give a plan and data of the run's own unit"
            )
        if self.persons is not None and len(self.persons) != plan.population:
            raise PrivacyError(
                f"the plan samples from {plan.population} persons and the data have {len(self.persons)}; give the "
                "published number of persons to both"
            )


def load_data(experiment: Experiment, scale: str) -> TrainingData:
    """Load the image stores of an experiment and select from them what it trains, mixes and is evaluated on.

    Args:
        experiment: the run.
        scale: the name of the scale, which is part of some paths.

    Raises:
        DataError: if a store is missing, does not have its published size, or, with `unit: person`, does not say whose
            its images are.
        PrivacyError: for a release on a folder without given training and test images.
    """
    store = Path(experiment.images().path(scale)).parent
    train, test = load(store, "train"), load(store, "test")
    if experiment.release and experiment.dataset.source == "folder" and not split_is_given(store):
        raise drawn_for_a_release(experiment.dataset.name, str(experiment.dataset.path))
    by_person = experiment.unit == "person"
    for split, images, published in (
        ("train", train, None if by_person else experiment.dataset.train),
        ("test", test, experiment.dataset.test),
    ):
        if published is not None and len(images) != published:
            raise DataError(
                f"{store} has {len(images)} {split} images, not the published {published}; delete and remake it"
            )
    public, places = _synthetic(experiment, scale, train)
    if by_person:
        return _of_persons(experiment, train, test, public, store)
    chosen, others = halves(train) if experiment.subset == "S1" else (np.arange(len(train)), None)
    mixed_in = public
    if experiment.mix_with == "S2" and others is not None:
        mixed_in, places = take(train, others), others
    evaluation = test
    held_out = experiment.held_out_size
    if held_out:
        order = shuffled(len(chosen), "holdout")
        evaluation = take(train, np.sort(chosen[order[:held_out]]))
        chosen = np.sort(chosen[order[held_out:]])
    private = train if len(chosen) == len(train) else take(train, chosen)
    return TrainingData(private, evaluation, mixed_in, public, private_places=chosen, mixed_in_places=places)


def load_sharing(experiments: Sequence[Experiment], scale: str) -> list[TrainingData]:
    """The data of several experiments of one stream, which train on the same images: these are loaded once.

    Raises:
        DataError: as `load_data` does.
    """
    first = load_data(experiments[0], scale)
    train = load(Path(experiments[0].images().path(scale)).parent, "train")

    def mixed_in(one: Experiment) -> TrainingData:
        public, places = _synthetic(one, scale, train)
        if one.mix_with == "S2":
            others = halves(train)[1]
            return replace(first, mixed_in=take(train, others), mixed_in_places=others, public=public)
        return replace(first, mixed_in=public, mixed_in_places=places, public=public)

    def sets(one: Experiment) -> tuple[str, str, int]:
        synthetic = one.synthetic_images()
        return one.mix_with, synthetic.hash if synthetic else "", one.synthetic_size

    found = {sets(experiments[0]): first}
    for one in experiments:
        if sets(one) not in found:
            found[sets(one)] = mixed_in(one)
    return [found[sets(one)] for one in experiments]


def _synthetic(experiment: Experiment, scale: str, train: Images) -> tuple[Images | None, np.ndarray | None]:
    """The part of D that an experiment uses, and which images of D's store these are; None if it uses none.

    Raises:
        DataError: if the store is missing, or has other classes than the training set, or another order of them.
    """
    synthetic = experiment.synthetic_images()
    if synthetic is None:
        return None, None
    store = Path(synthetic.path(scale)).parent
    public = load(store, "train")
    places = balanced_places(public, experiment.synthetic_size)
    if len(places) < len(public):
        public = take(public, places)
    if public.classes != train.classes:
        raise DataError(
            f"{store} has other classes than {Path(experiment.images().path(scale)).parent}, or has them in another "
            "order; delete both and run the same command again"
        )
    return public, places


def halves(train: Images) -> tuple[np.ndarray, np.ndarray]:
    """S1 and S2: which training images are in each half of a public permutation, ascending int64."""
    order, half = shuffled(len(train), "subset"), len(train) // 2
    return np.sort(order[:half]), np.sort(order[half : 2 * half])


def _of_persons(
    experiment: Experiment, train: Images, test: Images, public: Images | None, store: Path
) -> TrainingData:
    """The data of a run that samples persons. In a tuning run no person is in both parts."""
    count = experiment.dataset.persons
    assert count is not None
    if train.persons is None:
        raise DataError(
            f"{store} does not say whose image each is; make it from a list with a column of persons, or set unit: "
            "image"
        )
    known = np.unique(train.persons)
    if not np.array_equal(known, np.arange(count)):
        raise DataError(
            f"{store} has training images of {len(known)} persons, not of the published {count}; delete and remake it"
        )
    held_out = experiment.held_out_size
    if not held_out:
        return TrainingData(train, test, public, public, Persons.of(train.persons, count))
    order = shuffled(count, "holdout")
    kept, others = np.sort(order[held_out:]), np.sort(order[:held_out])
    of_kept = np.isin(train.persons, kept)
    private = take(train, np.flatnonzero(of_kept))
    assert private.persons is not None
    # They are numbered anew from 0, in the old order.
    persons = Persons.of(np.searchsorted(kept, private.persons), len(kept))
    return TrainingData(private, take(train, np.flatnonzero(np.isin(train.persons, others))), public, public, persons)


def shuffled(count: int, purpose: str) -> np.ndarray:
    """A public permutation of `count` records, int64 [count], that depends on `count` and `purpose` alone."""
    keys = KeyedRandom(_PARTITION_SEED, 0, np.arange(count)).uniform(f"partition/{purpose}")
    return np.argsort(keys, kind="stable")


def balanced_places(images: Images, count: int) -> np.ndarray:
    """Which images make a selection with as many of each class as possible, ascending int64 [count]; or all.

    The selection is public and the same for every experiment. A smaller selection is part of a larger one.
    """
    if count >= len(images):
        return np.arange(len(images))
    order = shuffled(len(images), "synthetic")
    labels = images.labels[order]
    by_class = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    turn = np.empty(len(labels), dtype=np.int64)
    turn[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[np.lexsort((labels, turn))[:count]])


def take(images: Images, indices: np.ndarray) -> Images:
    """The images at `indices`, int64 [m], copied into memory."""
    persons = images.persons[indices] if images.persons is not None else None
    return Images(images.images[indices], images.labels[indices], images.classes, persons)


def view_settings(experiment: Experiment) -> ViewSettings:
    """The settings of an experiment's views."""
    return experiment.view_settings
