"""No unfinished run is ever taken for another: the name of a checkpoint holds everything that determines its state."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import EncoderModel
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.execution import Execution
from dpmix.files import read_json
from dpmix.training.checkpoint import Checkpoint
from dpmix.training.runner import make
from tests.artefacts.test_experiment import CHANGES as OF_ALL
from tests.training.conftest import DATASET, ENCODER, NETWORK, SYNTHETIC, TRAIN, World, draw, write_store

pytestmark = pytest.mark.filterwarnings("ignore")

MICROBATCHES = {"microbatch_size": 2, "k_self": 0, "k_diff": 0}
# Another value of every field, with what else must change for the two to fit together: those of all experiments, but
# where this world has things of its own.
CHANGES: dict[str, dict[str, Any]] = {
    **OF_ALL,
    "semantics": {"semantics": 1000},
    "dataset": {"dataset": DATASET.model_copy(update={"train": 88})},
    "model": {},  # of each kind its own
    "synthetic": {"synthetic": SYNTHETIC.model_copy(update={"size": 40})},
    "clip_norm": {"clip_norm": 0.5},
    "precision": {"precision": "bfloat16"},
    "engine": {"engine": "jax"},
    "update": {"update": "model-mix"},
    "mix_width": {"mix_width": 0.3, "update": "model-mix"},
    "calibration": {"calibration": "matched"},
    "batch_size": {"batch_size": 23},
    "k_base": {"k_base": 3},
    "k_self": {"k_self": 3},
    "k_diff": {"k_diff": 2},
    "microbatch_size": MICROBATCHES,
    "microbatch_mixup": {"microbatch_mixup": "alone", **MICROBATCHES},
    "unit": {"unit": "person", "dataset": DATASET.model_copy(update={"persons": TRAIN})},
}
# Pretraining is for heads; microbatches, precision, engines and ModelMix are for networks.
NOT_FOR = {
    "scratch": {"pretrain_epochs"},
    "head": {"microbatch_size", "microbatch_mixup", "precision", "engine", "update", "mix_width"},
}


class Stopped(BaseException):
    """What no code catches."""


@contextmanager
def stopped_after_the_first_checkpoint() -> Iterator[None]:
    real = Checkpoint.save

    def save(self: Checkpoint, *state: Any) -> None:
        real(self, *state)
        raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", save)
        yield


def prepare(experiment: Experiment) -> None:
    """Write the inputs of a run that are not there yet, whatever they are."""
    store = experiment.images().path("demo").parent
    if not store.exists():
        write_store(store, train=draw(experiment.dataset.train, 0), test=draw(experiment.dataset.test, 1))
        if experiment.dataset.persons:
            np.save(store / "train_persons.npy", np.arange(experiment.dataset.persons))
    if (synthetic := experiment.synthetic_images()) and not synthetic.path("demo").exists():
        write_store(synthetic.path("demo").parent, train=draw(synthetic.synthetic.size, 2))
    if encoder := experiment.encoder():
        folder, there = encoder.path("demo").parent, EncoderModel(encoder=ENCODER).path("demo").parent
        if not folder.exists():
            os.symlink(there.resolve(), folder)


def checkpoint_of(*artefacts: Artefact) -> str:
    """The name of the one file that a job of these leaves when it is stopped."""
    folder = Path("results/demo/checkpoints")
    with stopped_after_the_first_checkpoint(), pytest.raises(Stopped):
        make(artefacts, "demo", Execution(checkpoint_seconds=0))
    (left,) = folder.iterdir()
    left.unlink()
    return left.name


def experiment(world: World, track: str, **changes: Any) -> Experiment:
    """One of which every field matters: images are drawn from D, and mixed."""
    if track == "head":
        return world.experiment(**changes)
    return world.scratch(**{"k_diff": 1, "synthetic": SYNTHETIC, **changes})


def changes_of(track: str, field: str) -> dict[str, Any]:
    if field != "model":
        return CHANGES[field]
    network, encoder = NETWORK.model_copy(update={"width": 2}), ENCODER.model_copy(update={"weights": "others"})
    return {"model": network if track == "scratch" else encoder}


def test_every_field_of_an_experiment_is_covered_here() -> None:
    assert set(CHANGES) == set(Experiment.model_fields)


@pytest.mark.parametrize("track", ["scratch", "head"])
def test_whatever_field_differs_the_file_is_another(world: World, track: str) -> None:
    names = {"nothing": checkpoint_of(experiment(world, track))}
    for field in sorted(set(CHANGES) - NOT_FOR[track]):
        changes = changes_of(track, field)
        changed = experiment(world, track, **changes)
        prepare(changed)
        names[field] = checkpoint_of(changed)
        if company := {name: value for name, value in changes.items() if name != field}:
            assert checkpoint_of(experiment(world, track, **company)) != names[field], field
    shared = [(one, other) for one in names for other in names if one < other and names[one] == names[other]]
    assert len(names) > 30
    assert not shared
    assert checkpoint_of(experiment(world, track)) == names["nothing"]


@pytest.mark.parametrize("track", ["scratch", "head"])
def test_a_changed_plan_is_another_file(world: World, track: str) -> None:
    run = experiment(world, track)
    names = [checkpoint_of(run)]
    for noise_multiplier in (6.0, 8.0):
        world.plan(run, noise_multiplier)
        names.append(checkpoint_of(run))
    assert len(set(names)) == 3


def test_the_heads_of_a_stream_are_in_its_name(world: World) -> None:
    one, other = world.experiment(epsilon=1.0), world.experiment(epsilon=4.0)
    tuning = world.experiment(learning_rate=None, epsilon=1.0)
    jobs: dict[str, list[Artefact]] = {
        "one": [one],
        "the other": [other],
        "both": [one, other],
        "another rate": [one.model_copy(update={"learning_rate": 8.0})],
        "a record": [GradientRecord(experiment=one)],
        "a record of the other": [one, GradientRecord(experiment=other)],
        "a choice": [Selection(experiment=tuning, learning_rates=(1.0, 2.0))],
        "a larger choice": [Selection(experiment=tuning, learning_rates=(1.0, 2.0, 4.0))],
    }
    names = {name: checkpoint_of(*artefacts) for name, artefacts in jobs.items()}
    assert len(set(names.values())) == len(jobs)


def test_a_stream_that_lost_a_head_starts_afresh(world: World) -> None:
    """Two heads were stopped; one of them is then asked for alone, and is what it would have been."""
    one, other = world.experiment(epsilon=1.0), world.experiment(epsilon=4.0)
    world.plan(one, 8.0)
    make([other], "demo")
    expected = read_json(other.path("demo"))
    other.path("demo").unlink()
    with stopped_after_the_first_checkpoint(), pytest.raises(Stopped):
        make([one, other], "demo", Execution(checkpoint_seconds=0))
    make([other], "demo", Execution(checkpoint_seconds=0))
    assert {**read_json(other.path("demo")), "times": 0} == {**expected, "times": 0}
