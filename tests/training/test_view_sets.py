"""Views that come again are encoded once, and heads then are what they are when each step encodes its views.

Of `training.embedded_views` and `training.kept_views`, through the trainer.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dpmix.artefacts.data import ImageStore
from dpmix.artefacts.experiment import Experiment
from dpmix.data.persons import Persons
from dpmix.execution import Execution
from dpmix.files import read_json
from dpmix.models.encoder import Encoder
from dpmix.models.encoder_files import load_encoder
from dpmix.models.features import Featurizer
from dpmix.training import kept_views
from dpmix.training.checkpoint import Checkpoint
from dpmix.training.data import TrainingData, load_data
from dpmix.training.heads import Head, Method, train_heads, train_methods
from dpmix.training.outcome import Outcome
from dpmix.training.runner import make
from dpmix.training.workers import Workers
from dpmix.views.union import ViewUnion
from tests.needs import LINUX, needs
from tests.training.conftest import DATASET, PIXELS, TEST, TRAIN, World, blocks, draw, plan_for, write_store
from tests.training.nameless import looking_into
from tests.training.test_checkpoint import Killed, Stops

pytestmark = pytest.mark.filterwarnings("ignore")

ROOM = 1e9


class Counting:
    """An encoder that counts the images that it sees."""

    def __init__(self, encode: Any = blocks) -> None:
        self.encode, self.images = encode, 0

    def __call__(self, images: Tensor) -> Tensor:
        self.images += len(images)
        return self.encode(images)


def trained(experiment: Experiment, room: float, encode: Any = blocks, **how: Any) -> list[Outcome]:
    plan, data = plan_for(experiment.plan(), 1.0), load_data(experiment, "demo")
    heads = [Head(plan, 1.0, "a", momentum=0.5), Head(plan, 1.0, "b", record_magnitudes=True)]
    return train_heads(experiment, heads, data, Featurizer(encode), kept_bytes=room, **how)


def assert_same(first: list[Outcome], second: list[Outcome]) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert one.accuracies == other.accuracies
        for name, weights in one.weights.items():
            scale = float(weights.abs().max())
            assert scale > 0
            torch.testing.assert_close(other.weights[name], weights, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("view_sets", [1, 2, 40])
def test_weights_do_not_depend_on_what_is_kept(world: World, encoder_folder: Path, view_sets: int) -> None:
    """40 sets are too many to be encoded ahead: they are when they are first shown."""
    experiment = world.experiment(view_sets=view_sets, epochs=8)
    encode = load_encoder(encoder_folder)
    assert_same(trained(experiment, 0, encode), trained(experiment, ROOM, encode))


def test_every_view_is_encoded_once(world: World) -> None:
    experiment = world.experiment(view_sets=2, epochs=16)
    kept, anew = Counting(), Counting()
    trained(experiment, ROOM, kept)
    trained(experiment, 0, anew)
    assert kept.images == TEST + 2 * TRAIN * experiment.views
    assert anew.images > 7 * kept.images


def test_a_set_that_no_step_shows_is_not_encoded_unless_most_are_shown(world: World) -> None:
    encode = Counting()
    experiment = world.experiment(view_sets=40, epochs=2)
    trained(experiment, ROOM, encode)
    drawn = TRAIN * experiment.views * experiment.epochs
    assert 0.8 * drawn < encode.images - TEST < 1.2 * drawn


def test_with_one_set_and_without_noise_every_step_sees_the_same_gradient(world: World) -> None:
    """A learning rate of next to nothing and a sample of all: what was recorded in each epoch is the same."""
    changes = {"batch_size": TRAIN, "epochs": 3}
    for view_sets, alike in ((1, True), (0, False)):
        (outcome,) = train_heads(
            experiment := world.experiment(view_sets=view_sets, **changes),
            [Head(plan_for(experiment.plan(), 1e-9), 1e-9, "a", record_magnitudes=True)],
            load_data(experiment, "demo"),
            Featurizer(blocks),
        )
        assert outcome.magnitudes is not None
        assert np.allclose(outcome.magnitudes[0], outcome.magnitudes[2], rtol=1e-5, atol=1e-7) == alike


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_what_has_no_room_is_encoded_again(world: World, share: float) -> None:
    experiment = world.experiment(view_sets=2, epochs=4)
    room = share * 2 * TRAIN * kept_views.bytes_of_set(experiment.views, experiment.views, 17, DATASET.classes)
    encode = Counting()
    assert_same(trained(experiment, 0), trained(experiment, max(room, 1.0), encode, physical_batch=4))
    assert encode.images > TEST + 2 * TRAIN * experiment.views


@needs(LINUX, Path("/proc/self/maps").exists())
def test_a_large_file_has_no_name_and_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, folder = world.experiment(view_sets=2), world.folder / "features"
    in_memory, (encode, seen) = trained(experiment, ROOM), looking_into(folder)
    monkeypatch.setattr(kept_views, "IN_MEMORY", 0)
    assert_same(in_memory, trained(experiment, ROOM, encode, folder=folder))
    assert seen[-1]
    assert all(line.endswith("(deleted)") for line in seen[-1])
    assert list(folder.iterdir()) == []


@needs(LINUX, Path("/proc/self/maps").exists())
def test_the_file_of_a_job_lies_among_its_checkpoints(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not with temporary files, which others may share; how large it may be is the job's to say."""
    experiment, seen = world.experiment(view_sets=1, release=True, learning_rate=1.0, epochs=8), []

    original = Encoder.__call__

    def encode(self: Encoder, images: Tensor) -> Tensor:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        seen.append([line for line in lines if "(deleted)" in line and "results/demo/checkpoints/" in line])
        return original(self, images)

    monkeypatch.setattr(Encoder, "__call__", encode)
    monkeypatch.setattr(kept_views, "IN_MEMORY", 0)
    for room, files in ((0.0, 0), (ROOM, 2)):
        seen.clear()
        make([experiment], "demo", Execution(kept_bytes=room))
        assert len(seen[-1]) == files
        experiment.path("demo").unlink()


@pytest.mark.parametrize(("free", "processes"), [(1e6, 1), (4e3, 1), (4e3, 4)])
def test_the_files_of_a_run_take_half_of_the_free_disk_at_most(
    free: float, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them together, each of whose processes sees the same free disk: its checkpoint has to go there, too."""
    monkeypatch.setattr(kept_views, "IN_MEMORY", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - int(free), int(free)))
    made = kept_views.KeptViews(10, 2, [3], 3, width=5, classes=4, most=ROOM, folder=tmp_path, processes=processes)
    whole = 10 * 2 * kept_views.bytes_of_set(3, 3, 5, 4)
    assert made.room == int(20 * min(1.0, free / 2 / processes / whole))
    assert 4 * made._pool.numel() <= min(whole, free / 2 / processes)


def test_a_disk_that_is_full_keeps_nothing_and_changes_nothing(
    world: World, small_disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where several processes or jobs take what each of them found free: a write to a mapped file would be fatal."""
    folder, encode = small_disk("32k"), Counting()
    monkeypatch.setattr(kept_views, "IN_MEMORY", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    experiment = world.experiment(view_sets=2, epochs=4)
    assert_same(trained(experiment, 0), trained(experiment, ROOM, encode, folder=folder))
    assert encode.images > TEST + 2 * TRAIN * experiment.views


@pytest.mark.parametrize(("epochs", "anew"), [(16, False), (2, True)])
def test_a_release_keeps_what_is_encoded_before_its_first_step_and_nothing_else(
    world: World, epochs: int, anew: bool
) -> None:
    """Else the last bits of what is kept would owe something to who was sampled when it was first shown."""
    changes: dict[str, Any] = {"release": True, "learning_rate": 1.0, "view_sets": 2, "epochs": epochs}
    experiment, batches = world.experiment(**changes), []

    def encode(images: Tensor) -> Tensor:
        batches.append(len(images))
        return blocks(images)

    def run(room: float, **how: Any) -> int:
        batches.clear()
        heads, data = [Head(plan_for(experiment.plan(), 1.0), 1.0, "a")], load_data(experiment, "demo")
        train_heads(experiment, heads, data, Featurizer(encode), kept_bytes=room, **how)
        return sum(batches) - TEST

    every = 2 * TRAIN * experiment.views
    shown = TRAIN * epochs * experiment.views
    assert 0.7 * shown < run(ROOM if anew else 0) < 1.3 * shown
    if anew:
        return
    assert run(ROOM) == every
    # With room for half, the first half is kept, whoever is sampled; on several processes nothing is.
    of_set = kept_views.bytes_of_set(experiment.views, experiment.views, 17, DATASET.classes)
    assert 0.7 * shown / 2 < run(TRAIN * of_set) - every / 2 < 1.3 * shown / 2
    assert 0.7 * shown / 2 < run(ROOM, workers=Half(0, 2)) < 1.3 * shown / 2


def test_where_memory_runs_out_every_view_is_still_kept_once(world: World) -> None:
    experiment, encode = world.experiment(view_sets=2, epochs=12), Counting()

    def limited(images: Tensor) -> Tensor:
        if len(images) > TEST:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(images)

    assert_same(trained(experiment, 0), trained(experiment, ROOM, limited, physical_batch=32))
    assert encode.images == TEST + 2 * TRAIN * experiment.views


def test_a_method_whose_views_are_always_the_same_gives_others_no_sets(world: World) -> None:
    """Its `view_sets` mean nothing, so it shares the stream of methods without; its number is not theirs."""
    still = world.experiment(method="dp-sgd", k_base=1, k_self=0, k_diff=0, transforms=(), view_sets=3)
    drawn = world.experiment(method="self-aug", k_self=0, k_diff=0)
    assert still.stream() == drawn.stream()

    def method(run: Experiment) -> Method:
        return Method(run, load_data(run, "demo"), [Head(plan_for(run.plan(), 1.0), 4.0, run.method)])

    (alone,) = train_methods([method(drawn)], Featurizer(blocks))
    assert_same([alone], train_methods([method(still), method(drawn)], Featurizer(blocks))[1:])


def test_the_time_of_a_run_has_that_of_encoding_ahead(world: World) -> None:
    experiment = world.experiment(view_sets=1, epochs=8)

    def slow(images: Tensor) -> Tensor:
        time.sleep(0.01)
        return blocks(images)

    outcomes = trained(experiment, ROOM, slow, physical_batch=4)
    assert all(one.seconds is not None and one.seconds >= 0.01 * TRAIN / 4 for one in outcomes)


def test_an_unfinished_run_goes_on_as_if_it_had_not_been_stopped(world: World) -> None:
    experiment = world.experiment(view_sets=2, epochs=4)
    data, plan = load_data(experiment, "demo"), plan_for(experiment.plan(), 1.0)
    checkpoint = Checkpoint(world.folder / "state.safetensors", every_seconds=0)

    def run(**how: Any) -> list[Outcome]:
        return train_heads(experiment, [Head(plan, 4.0, "a", momentum=0.5)], data, Featurizer(blocks), **how)

    whole = run()
    with pytest.raises(Killed):
        run(noise=Stops(experiment.seed), checkpoint=checkpoint)
    assert checkpoint.path.exists()
    assert_same(whole, run(checkpoint=checkpoint))


class Half(Workers):
    """One of two processes whose sums are not added up."""

    def all_reduce(self, *tensors: Tensor) -> None:
        return None

    def broadcast(self, tensor: Tensor) -> Tensor:
        return tensor

    def wait(self) -> None:
        return None


def test_each_of_several_processes_keeps_what_it_passes(world: World) -> None:
    """It encodes nothing ahead, and its sums are those without anything kept."""
    experiment = world.experiment(view_sets=1, epochs=8)
    encode = Counting()
    share = trained(experiment, ROOM, encode, workers=Half(0, 2))
    assert_same(trained(experiment, 0, workers=Half(0, 2)), share)
    assert encode.images <= TEST + TRAIN * experiment.views


def test_methods_that_share_a_stream_keep_the_union_of_their_views(world: World) -> None:
    changes: list[dict[str, Any]] = [
        {"method": "self-aug", "k_self": 0, "k_diff": 0},
        {"method": "dp-mix-self", "k_diff": 0},
        {"method": "dp-mix-diff"},
    ]
    runs = [world.experiment(view_sets=2, epochs=12, **one) for one in changes]

    def all_of(room: float, encode: Counting) -> list[Outcome]:
        methods = [
            Method(run, load_data(run, "demo"), [Head(plan_for(run.plan(), 1.0), 4.0, run.method)]) for run in runs
        ]
        return train_methods(methods, Featurizer(encode), kept_bytes=room)

    kept, anew = Counting(), Counting()
    assert_same(all_of(0, anew), all_of(ROOM, kept))
    union = ViewUnion.of([run.wanted_views() for run in runs]).views
    assert 0.9 < (kept.images - TEST) / (2 * TRAIN * union) < 1.1 < (anew.images - TEST) / (2 * TRAIN * union)
    assert len({run.stream() for run in runs}) == 1
    assert runs[0].model_copy(update={"view_sets": 1}).stream() != runs[0].stream()


@pytest.fixture
def by_person(world: World) -> tuple[Experiment, TrainingData]:
    owners = np.random.default_rng(0).permutation(np.repeat(np.arange(32), 3))
    dataset = DATASET.model_copy(update={"train": None, "persons": 40})
    store = ImageStore(dataset=dataset, resolution=PIXELS).path("demo").parent
    write_store(store, train=draw(TRAIN, 0), test=draw(TEST, 1))
    np.save(store / "train_persons.npy", np.concatenate([owners[:-8], np.arange(32, 40)]))
    experiment = world.experiment(dataset=dataset, unit="person", batch_size=10, epochs=12, view_sets=2)
    return experiment, load_data(experiment, "demo")


def test_persons_have_sets_of_views_of_all_their_images(by_person: tuple[Experiment, TrainingData]) -> None:
    """Some persons have no image, as when they were removed; they stay N."""
    experiment, data = by_person
    assert isinstance(data.persons, Persons)
    plan, encode = plan_for(experiment.plan(), 1.0), Counting()
    plan = plan.__class__(**{**plan.__dict__, "unit": "person"})
    heads = [Head(plan, 4.0, "a")]
    anew = train_heads(experiment, heads, data, Featurizer(blocks), kept_bytes=0)
    assert_same(anew, train_heads(experiment, heads, data, Featurizer(encode), kept_bytes=ROOM))
    assert encode.images == TEST + 2 * len(data.persons) * experiment.views


@pytest.mark.parametrize("kind", ["scratch", "head"])
def test_a_job_makes_such_a_run_at_a_path_of_its_own(world: World, kind: str) -> None:
    make_one = world.scratch if kind == "scratch" else world.experiment
    usual, sets = make_one(), make_one(view_sets=1)
    assert usual.path("demo") != sets.path("demo")
    make([usual, sets], "demo", Execution())
    said = [read_json(run.path("demo")) for run in (usual, sets)]
    assert [one["experiment"]["view_sets"] for one in said] == [0, 1]
    assert said[0]["steps"] == said[1]["steps"]
    assert not list(world.folder.glob("results/demo/checkpoints/*"))


def test_sets_of_views_that_are_always_the_same_are_no_other_run(world: World) -> None:
    still: dict[str, Any] = {"k_base": 1, "k_self": 0, "k_diff": 0, "transforms": (), "synthetic": None}
    assert world.experiment(**still, view_sets=3).hash == world.experiment(**still).hash
    assert world.experiment(view_sets=3).hash != world.experiment(view_sets=2).hash


def test_microbatches_have_no_sets_of_views(world: World) -> None:
    with pytest.raises(ValueError, match="view_sets are of single examples; set microbatch_size: 1, or view_sets: 0"):
        world.scratch(microbatch_size=2, k_self=0, view_sets=2)
