"""What a run is measured on never trains it: held-out records in a tuning run, test images in any."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dpmix.artefacts.data import ImageStore
from dpmix.artefacts.experiment import Experiment
from dpmix.data.images import Images
from dpmix.models.features import Featurizer
from dpmix.training.data import TrainingData, load_data
from dpmix.training.heads import Head, train_heads
from dpmix.training.outcome import Outcome
from dpmix.training.scratch import train_from_scratch
from tests.training import reference
from tests.training.conftest import CLASSES, DATASET, PIXELS, TEST, TRAIN, Recorder, World, blocks, draw, plan_for
from tests.training.conftest import write_store as write

Trained = tuple[Outcome, torch.Tensor, TrainingData]
Train = Callable[[Experiment], Trained]


def of_network(experiment: Experiment) -> Trained:
    data, recorder = load_data(experiment, "demo"), Recorder([])
    numbered = experiment.model_copy(update={"learning_rate": 0.5})
    outcome = train_from_scratch(numbered, plan_for(experiment.plan(), 1.0), data, noise=recorder)
    return outcome, recorder.totals(), data


def of_head(experiment: Experiment) -> Trained:
    data, recorder = load_data(experiment, "demo"), Recorder([])
    head = Head(plan_for(experiment.plan(), 1.0), 4.0, "a")
    (outcome,) = train_heads(experiment, [head], data, Featurizer(blocks), noise=recorder)
    return outcome, recorder.totals(), data


@pytest.fixture(params=["network", "head"])
def train(request: pytest.FixtureRequest) -> Train:
    return of_network if request.param == "network" else of_head


@pytest.fixture
def tuning(world: World, train: Train) -> Experiment:
    changes = {"holdout": 0.25, "learning_rate": None, "epochs": 2}
    return world.scratch(**changes) if train is of_network else world.experiment(**changes)


def indices_of(part: Images) -> np.ndarray:
    """Where images of a part stand in the training set."""
    places = {image.tobytes(): index for index, image in enumerate(draw(TRAIN, 0)[0])}
    return np.array([places[image.tobytes()] for image in np.asarray(part.images)])


def store() -> Path:
    return ImageStore(dataset=DATASET, resolution=PIXELS).path("demo").parent


def replaced(pair: tuple[np.ndarray, np.ndarray], indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Other images and other labels at some places."""
    images, labels = pair[0].copy(), pair[1].copy()
    images[indices] = draw(len(images), 9)[0][indices]
    labels[indices] = (labels[indices] + 1) % CLASSES
    return images, labels


def test_held_out_records_are_measured_on_and_never_trained_on(tuning: Experiment, train: Train) -> None:
    outcome, sums, data = train(tuning)
    held_out = indices_of(data.evaluation)
    assert len(held_out) == 24
    write(store(), train=replaced(draw(TRAIN, 0), held_out), test=draw(TEST, 1))
    changed, others, _ = train(tuning)
    assert torch.equal(sums, others)
    assert changed.accuracies != outcome.accuracies
    # Any other record is trained on.
    write(store(), train=replaced(draw(TRAIN, 0), indices_of(data.private)), test=draw(TEST, 1))
    assert not torch.equal(train(tuning)[1], sums)


def test_the_test_set_has_no_part_in_tuning(tuning: Experiment, train: Train) -> None:
    outcome, sums, _ = train(tuning)
    write(store(), train=draw(TRAIN, 0), test=replaced(draw(TEST, 1), np.arange(TEST)))
    changed, others, _ = train(tuning)
    assert torch.equal(sums, others)
    assert changed.accuracies == outcome.accuracies


def test_the_test_set_is_measured_on_and_never_trained_on(tuning: Experiment, train: Train) -> None:
    run = tuning.model_copy(update={"holdout": 0.0})
    outcome, sums, _ = train(run)
    write(store(), train=draw(TRAIN, 0), test=replaced(draw(TEST, 1), np.arange(TEST)))
    changed, others, _ = train(run)
    assert torch.equal(sums, others)
    assert changed.accuracies != outcome.accuracies


def test_tuning_is_measured_on_held_out_images_as_they_are(world: World) -> None:
    experiment = world.experiment(holdout=0.25, transforms=("crop", "flip", "noise"), padding=4, epochs=4)
    (run,) = reference.stream(experiment, [Head(plan_for(experiment.plan(), 20.0), 4.0, "a")])
    assert run.outcome.accuracies == run.accuracies(run.expected.weights)
    assert len(set(run.outcome.accuracies)) > 2
    views = {"transforms": ("crop", "flip", "noise"), "padding": 4}
    network = world.scratch(holdout=0.25, **views, epochs=4, batch_size=36, seed=5)
    followed = reference.network(network, 0.3, compare=False)
    assert followed.outcome.accuracies == followed.accuracies(followed.expected.weights)
    assert len(set(followed.outcome.accuracies)) > 1
