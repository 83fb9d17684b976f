"""A crop that comes again is encoded once, and heads are what they are when it is encoded each time."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.artefacts.repeated import examples_shown, features_kept, plain_views, views_saved
from dpmix.execution import Execution
from dpmix.models.encoder_files import load_encoder
from dpmix.models.features import Featurizer
from dpmix.training import kept_crops, kept_views
from dpmix.training.checkpoint import Checkpoint
from dpmix.training.data import load_data
from dpmix.training.embedded_views import EmbeddedViews
from dpmix.training.heads import Head, Method, train_methods
from dpmix.training.kept_crops import KeptCrops
from dpmix.training.outcome import Outcome
from dpmix.training.runner import make
from dpmix.views.union import ViewUnion
from tests.needs import LINUX, needs
from tests.training.conftest import TEST, World, blocks, plan_for
from tests.training.jobs import RATES
from tests.training.nameless import looking_into
from tests.training.test_checkpoint import Killed, Stops
from tests.training.test_union import content, encoded, same
from tests.training.test_view_sets import ROOM, Counting, Half, assert_same

pytestmark = pytest.mark.filterwarnings("ignore")

METHODS: list[dict[str, Any]] = [
    {"method": "mixed-ghost", "k_base": 1, "k_self": 0, "k_diff": 0, "transforms": ()},
    {"method": "self-aug", "k_self": 0, "k_diff": 0},
    {"method": "dp-mix-self", "k_diff": 0},
    {"method": "dp-mix-diff"},
    {"method": "jitter", "k_self": 0, "k_diff": 0, "transforms": ("crop", "jitter")},
    {"method": "sobel", "k_self": 0, "k_diff": 0, "transforms": ("crop", "sobel")},
]


def runs_of(world: World, **changes: Any) -> list[Experiment]:
    return [world.experiment(**{"epochs": 6, **changes, **own}).canonical() for own in METHODS]


def trained(runs: list[Experiment], room: float, encode: Any = blocks, **how: Any) -> list[Outcome]:
    heads = [Head(plan_for(runs[0].plan(), 1.0), 1.0, "a", momentum=0.5)]
    methods = [Method(run, load_data(run, "demo"), heads) for run in runs]
    return train_methods(methods, Featurizer(encode), kept_bytes=room, **how)


def test_weights_are_the_same_to_the_last_bit(world: World) -> None:
    """Where an image's features do not depend on how many others it is encoded with, as those of blocks do not."""
    kept, anew = Counting(), Counting()
    for one, other in zip(trained(runs_of(world), ROOM, kept), trained(runs_of(world), 0, anew), strict=True):
        assert float(one.weights["weight"].abs().max()) > 0
        assert torch.equal(one.weights["weight"], other.weights["weight"])
        assert torch.equal(one.weights["bias"], other.weights["bias"])
        assert (one.accuracies, one.clipped) == (other.accuracies, other.clipped)
        assert one.ledger.to_json() == other.ledger.to_json()
    assert kept.images < 0.8 * anew.images


@pytest.mark.parametrize("methods", [slice(1, 2), slice(3, 4), slice(0, 6)])
def test_weights_by_an_encoder_are_the_same_up_to_rounding(world: World, encoder_folder: Path, methods: slice) -> None:
    runs, encode = runs_of(world)[methods], load_encoder(encoder_folder)
    assert_same(trained(runs, 0, encode), trained(runs, ROOM, encode))


def expected(runs: list[Experiment], room: float = 1e9) -> float:
    views = ViewUnion.of([run.wanted_views() for run in runs]).views
    (saved,) = views_saved([plain_views(runs)], room)
    return examples_shown(runs[0]) * views - saved


def test_as_many_are_encoded_as_are_counted(world: World) -> None:
    """The mean over seeds, as it depends on who is sampled: two of a hundred is three of its standard errors."""
    counted = 0
    for seed in range(1, 9):
        encode = Counting()
        trained(runs_of(world, seed=seed), ROOM, encode)
        counted += encode.images - TEST
    runs = runs_of(world)
    assert counted / 8 == pytest.approx(expected(runs), rel=0.03)
    assert expected(runs) < 0.8 * examples_shown(runs[0]) * ViewUnion.of([run.wanted_views() for run in runs]).views


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_what_has_no_room_is_encoded_again(world: World, share: float) -> None:
    runs, counted = runs_of(world), 0
    count = features_kept([plain_views(runs)], 1e9)
    for seed in range(1, 5):
        encode = Counting()
        found = trained(runs_of(world, seed=seed), 4 * 16 * share * count, encode)
        assert_same(trained(runs_of(world, seed=seed), 0), found)
        counted += encode.images - TEST
    assert counted / 4 == pytest.approx(expected(runs, share * count), rel=0.05)


@needs(LINUX, Path("/proc/self/maps").exists())
def test_a_large_file_has_no_name_and_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, folder = runs_of(world), world.folder / "features"
    in_memory, (encode, seen) = trained(runs, ROOM), looking_into(folder)
    for module in (kept_crops, kept_views):
        monkeypatch.setattr(module, "IN_MEMORY", 0)
    assert_same(in_memory, trained(runs, ROOM, encode, folder=folder))
    assert seen[-1]
    assert all(line.endswith("(deleted)") for line in seen[-1])
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("processes", [1, 4])
def test_the_files_of_a_run_take_half_of_the_free_disk_at_most(
    world: World, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_crops, "IN_MEMORY", 0)
    monkeypatch.setattr(kept_views.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e4))
    crops = KeptCrops([runs_of(world)], ROOM, world.folder, processes)
    assert crops.open(16, torch.float32)
    assert crops._pool is not None
    assert 0.9 * 1e4 / 2 / processes < 4 * crops._pool.numel() <= 1e4 / 2 / processes


def test_a_disk_that_is_full_keeps_nothing_and_changes_nothing(
    world: World, small_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, kept, anew = small_disk("32k"), Counting(), Counting()
    for module in (kept_crops, kept_views):
        monkeypatch.setattr(module, "IN_MEMORY", 0)
    monkeypatch.setattr(kept_views.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    assert_same(trained(runs_of(world), 0, anew), trained(runs_of(world), ROOM, kept, folder=folder))
    assert kept.images == anew.images


def test_a_release_keeps_nothing(world: World) -> None:
    """Neither memory nor time may then depend on who was sampled before."""
    run = world.experiment(release=True, learning_rate=1.0, epochs=6, k_diff=0, synthetic=None, model=plain(world))
    assert plain_views([run]) == []
    encode, sampled = Counting(), []

    def counted(images: Tensor) -> Tensor:
        sampled.append(len(images))
        return encode(images)

    for room in (0, ROOM):
        encode.images = 0
        trained([run], room, counted)
        assert encode.images - TEST == pytest.approx(examples_shown(run) * run.views, rel=0.25)
        assert (encode.images - TEST) % run.views == 0
    assert not KeptCrops([[run]], ROOM, world.folder).open(16, torch.float32)


def plain(world: World) -> Any:
    return world.experiment().model.model_copy(update={"standardize": "none"})


def test_where_memory_runs_out_nothing_else_changes(world: World) -> None:
    def limited(images: Tensor) -> Tensor:
        if len(images) > TEST:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return blocks(images)

    assert_same(trained(runs_of(world), 0), trained(runs_of(world), ROOM, limited, physical_batch=32))


def test_what_runs_out_of_memory_on_its_way_to_be_kept_is_not_taken_for_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part is then computed again, and its crops must not be read from where those of others come to lie."""
    real, asked = kept_crops._on_its_way, []

    def short(tensor: Tensor) -> Any:
        asked.append(1)
        if len(asked) in (2, 5):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(tensor)

    monkeypatch.setattr(kept_crops, "_on_its_way", short)
    assert_same(trained(runs_of(world), 0), trained(runs_of(world), ROOM))
    assert len(asked) > 5


def test_an_unfinished_run_goes_on_as_if_it_had_not_been_stopped(world: World) -> None:
    """What was kept is gone, and is encoded again."""
    runs, checkpoint = runs_of(world), Checkpoint(world.folder / "state.safetensors", every_seconds=0)
    whole = trained(runs, ROOM)
    with pytest.raises(Killed):
        trained(runs, ROOM, noise=Stops(runs[0].seed), checkpoint=checkpoint)
    assert checkpoint.path.exists()
    again = trained(runs, ROOM, checkpoint=checkpoint)
    for one, other in zip(whole, again, strict=True):
        assert torch.equal(one.weights["weight"], other.weights["weight"])


def test_each_of_several_processes_keeps_what_it_passes(world: World) -> None:
    runs, encode = runs_of(world), Counting()
    share = trained(runs, ROOM, encode, workers=Half(0, 2))
    assert_same(trained(runs, 0, workers=Half(0, 2)), share)
    views = ViewUnion.of([run.wanted_views() for run in runs]).views
    (saved,) = views_saved([plain_views(runs, 2)], 1e9)
    assert encode.images - TEST == pytest.approx(examples_shown(runs[0]) * views / 2 - saved, rel=0.1)


def test_a_precision_that_loses_nothing_takes_half_of_the_room(world: World) -> None:
    class Low(Counting):
        precision = torch.bfloat16

    def low(images: Tensor) -> Tensor:
        return blocks(images).bfloat16().float()

    runs = runs_of(world)
    crops = KeptCrops([runs], ROOM, world.folder)
    for one, other in zip(trained(runs, ROOM, Low(low), crops=crops), trained(runs, 0, Low(low)), strict=True):
        assert torch.equal(one.weights["weight"], other.weights["weight"])
    assert crops._pool is not None
    assert crops._pool.dtype == torch.bfloat16


def test_of_the_time_each_has_the_share_of_what_it_would_encode(world: World) -> None:
    """By itself, whatever other methods or earlier streams have encoded, as Table 13 compares methods by their time."""
    runs, later = runs_of(world)[1:4], runs_of(world, seed=2)[1:4]
    alone = [expected([run]) for run in runs]
    assert alone[1] / alone[0] > 1.2 * runs[1].views / runs[0].views  # of Self-Aug's views more come again
    found = [one.seconds or 0.0 for one in trained(runs, ROOM)]
    assert [one / found[0] for one in found] == pytest.approx([one / alone[0] for one in alone])
    crops = KeptCrops([runs, later], ROOM, world.folder)
    data = [load_data(run, "demo") for run in runs]
    first, second = (EmbeddedViews(several, data, Featurizer(blocks), "cpu") for several in (runs, later))
    for views in (first, second):
        views.keep_crops(crops, 17)
    union = ViewUnion.of([run.wanted_views() for run in runs]).views
    saved = views_saved([plain_views(runs), plain_views(later)], 1e9)
    assert saved[1] > saved[0]
    for views, less in zip((first, second), saved, strict=True):
        assert views.shares() == pytest.approx([one / (examples_shown(runs[0]) * union - less) for one in alone])


# Several streams of one job -------------------------------------------------------------------------------------------
@pytest.fixture
def streams(world: World) -> list[list[Artefact]]:
    """Two seeds, the halves of Table 10, and a tuning run."""
    half = {"subset": "S1", "batch_size": 16}
    tuned = [run.model_copy(update={"learning_rate": None}) for run in runs_of(world, holdout=0.25)[1:4]]
    return [
        list(runs_of(world)[1:4]),
        list(runs_of(world, seed=2)[1:4]),
        [world.experiment(**half, method="b"), world.experiment(**half, method="c", mix_with="S2")],
        [Selection(experiment=run, learning_rates=RATES) for run in tuned],
    ]


def of(artefact: Artefact) -> Experiment:
    run = artefact.experiment if isinstance(artefact, Selection) else artefact
    assert isinstance(run, Experiment)
    return run


def test_streams_of_one_job_share_crops_and_are_what_they_are_alone(
    streams: list[list[Artefact]], monkeypatch: pytest.MonkeyPatch
) -> None:
    artefacts = [one for several in streams for one in several]
    assert len({of(one).stream() for one in artefacts}) == len(streams)
    together = encoded(monkeypatch, artefacts, ROOM)
    found = [content(one.path("demo")) for one in artefacts]
    alone = 0
    for several in streams:
        alone += encoded(monkeypatch, several, ROOM)
    for one, said in zip(artefacts, found, strict=True):
        same(said, content(one.path("demo")))
    assert together < 0.9 * alone
    make(artefacts, "demo", Execution(kept_bytes=0))
    for one, said in zip(artefacts, found, strict=True):
        same(said, content(one.path("demo")))


def test_streams_of_other_images_or_encoders_share_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = world.experiment(), world.experiment(model=plain(world))
    apart = encoded(monkeypatch, [one], ROOM) + encoded(monkeypatch, [other], ROOM)
    for run in (one, other):
        run.path("demo").unlink()
    assert encoded(monkeypatch, [one, other], ROOM) == apart


def test_the_job_encodes_what_is_counted(streams: list[list[Artefact]], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = [plain_views([of(one) for one in several]) for several in streams]
    saved, counted = views_saved(shown, 1e9), 0.0
    for several, less in zip(streams, saved, strict=True):
        union = ViewUnion.of([of(one).wanted_views() for one in several])
        counted += examples_shown(of(several[0])) * union.views - less
    images = encoded(monkeypatch, [one for several in streams for one in several], ROOM)
    evaluated = 3 * (40 + 48) + 24 + 48
    assert images - evaluated == pytest.approx(counted, rel=0.05)


def test_numbers_of_pictures_are_those_of_the_store(world: World) -> None:
    """The half S1 is not the first half of the store; its images have their places there."""
    run = world.experiment(subset="S1", mix_with="S2", batch_size=16)
    data, whole = load_data(run, "demo"), load_data(world.experiment(), "demo")
    assert data.private_places is not None
    assert data.mixed_in_places is not None
    assert data.mixed_in is not None
    np.testing.assert_array_equal(data.private.images, whole.private.images[data.private_places])
    np.testing.assert_array_equal(data.mixed_in.images, whole.private.images[data.mixed_in_places])
    assert not np.array_equal(data.private_places, np.arange(48))
    tuned = load_data(world.experiment(holdout=0.25), "demo")
    np.testing.assert_array_equal(tuned.private.images, whole.private.images[tuned.private_places])
    # D of a run on S1 is a balanced part of D.
    small = load_data(world.experiment(subset="S1", batch_size=16), "demo")
    assert small.mixed_in is not None
    assert whole.mixed_in is not None
    np.testing.assert_array_equal(small.mixed_in.images, whole.mixed_in.images[small.mixed_in_places])
