"""Methods that share a stream are trained on the union of their views, each as if it were alone."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.errors import PrivacyError
from dpmix.execution import Execution
from dpmix.files import read_json
from dpmix.models.encoder import Encoder
from dpmix.models.features import Featurizer
from dpmix.privacy.noise import SeededNoise
from dpmix.training import embedded_views
from dpmix.training.data import load_data
from dpmix.training.heads import Head, Method, train_methods
from dpmix.training.inputs import experiment_of
from dpmix.training.outcome import Outcome, read_magnitudes
from dpmix.training.runner import make
from dpmix.views.union import ViewUnion
from tests.training.conftest import DATASET, TEST, TRAIN, World, blocks, draw, plan_for, write_store
from tests.training.jobs import RATES

pytestmark = pytest.mark.filterwarnings("ignore")

SELF: dict[str, Any] = {"k_diff": 0}
# Methods of all kinds, and what is a head's own besides its views.
METHODS: dict[str, dict[str, Any]] = {
    "mixed-ghost": {**SELF, "k_base": 1, "k_self": 0, "transforms": (), "clip_norm": 0.05},
    "self-aug": {**SELF, "k_self": 0},
    "dp-mix-self": SELF,
    "dp-mix-diff": {},
    "pure-dp-mix-diff": {"k_base": 0, "k_diff": 3},
    "more": {"k_base": 3, "k_self": 4},
    "cutmix": {"mixing": "cutmix"},
    "unmixed": {"mixing": "unmixed", "k_self": 4},
    "jitter": {"transforms": ("crop", "jitter"), "k_self": 0, "k_diff": 0},
    "normalised": {"clipping": "auto-s"},
    "cut": {"clipping": "coordinates", "truncation": 4.0},
    "pretrained": {**SELF, "k_self": 0, "pretrain_epochs": 2},
}


def methods_of(world: World, **changes: Any) -> list[Experiment]:
    runs = [world.experiment(method=name, **{**changes, **own}).canonical() for name, own in METHODS.items()]
    assert len({run.stream() for run in runs}) == 1
    return runs


def content(path: Path) -> Any:
    """What a file of results says, times and execution apart, and then deleted."""
    if path.suffix == ".npz":
        found: Any = read_magnitudes(path)
    else:
        found = read_json(path)
        for name in ("times", "execution", "sha256"):
            found.pop(name, None)
    path.unlink()
    return found


def numbers(value: Any) -> list[float]:
    """All numbers in a nested value, in its order."""
    if isinstance(value, dict):
        return [number for key in value for number in numbers(value[key])]
    if isinstance(value, list | tuple):
        return [number for one in value for number in numbers(one)]
    if isinstance(value, np.ndarray):
        return [float(one) for one in value.ravel()]
    return [float(value)] if isinstance(value, int | float) else []


def same(together: Any, alone: Any) -> None:
    """Equal but for 1e-6 in its numbers, and exactly in all that says what was spent."""
    if isinstance(alone, dict):
        exact = ("epsilon", "executed", "steps", "noise_multiplier", "sampling_rate", "sensitivity", "experiment")
        for name in exact:
            assert together.get(name) == alone.get(name)
        assert together.keys() == alone.keys()
    np.testing.assert_allclose(numbers(together), numbers(alone), rtol=1e-6, atol=1e-6)


def check(artefacts: list[Artefact], **how: Any) -> None:
    """Together they are what each is alone."""
    make(artefacts, "demo", Execution(**how))
    together = [content(one.path("demo")) for one in artefacts]
    for one, found in zip(artefacts, together, strict=True):
        make([one], "demo")
        same(found, content(one.path("demo")))
    assert len({str(one) for one in together}) > len(together) / 2


@pytest.mark.parametrize("physical_batch", [64, 5])
def test_every_method_is_what_it_is_alone(world: World, physical_batch: int) -> None:
    runs = methods_of(world)
    check([*runs, *(GradientRecord(experiment=run) for run in runs[1:4])], physical_batch=physical_batch)


def test_weights_are_the_same_to_the_last_bit(world: World) -> None:
    """Where an image's features do not depend on how many others it is encoded with, as those of blocks do not."""
    runs = methods_of(world)
    plan = plan_for(runs[0].plan(), 1.0)
    heads = [Head(plan, 4.0, "a", 0.5, 0.01), Head(plan, 1.0, "b")]
    methods = [Method(run, load_data(run, "demo"), heads) for run in runs]
    together = train_methods(methods, Featurizer(blocks))
    alone = [outcome for method in methods for outcome in train_methods([method], Featurizer(blocks))]
    assert len(together) == len(alone) == 2 * len(METHODS)
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.weights["weight"], other.weights["weight"])
        assert torch.equal(one.weights["bias"], other.weights["bias"])
        assert (one.accuracies, one.clipped, one.ledger.to_json()) == (
            other.accuracies, other.clipped, other.ledger.to_json(),
        )  # fmt: skip


def test_the_halves_of_table_10_share(world: World) -> None:
    """A, B and C train on S1; C mixes in images of S2, which nobody trains on, in place of D."""
    half = {"subset": "S1", "batch_size": 16}
    runs = [
        world.experiment(method="a", **half, **SELF),
        world.experiment(method="b", **half),
        world.experiment(method="c", mix_with="S2", **half),
    ]
    assert len({run.stream() for run in runs}) == 1
    check(list(runs))


def test_tuning_runs_share_among_themselves(world: World) -> None:
    tuned = [run.model_copy(update={"learning_rate": None}) for run in methods_of(world, holdout=0.25)[:4]]
    assert tuned[0].stream() != methods_of(world)[0].stream()
    check([Selection(experiment=run, learning_rates=RATES) for run in tuned])


def test_runs_by_person_share_among_themselves(world: World) -> None:
    dataset = DATASET.model_copy(update={"persons": TRAIN // 3})
    by_person = {"unit": "person", "dataset": dataset, "batch_size": 8}
    runs = [world.experiment(method=name, **by_person, **METHODS[name]) for name in ("self-aug", "dp-mix-self", "more")]
    store = runs[0].images().path("demo").parent
    write_store(store, train=draw(TRAIN, 0), test=draw(TEST, 1))
    np.save(store / "train_persons.npy", np.arange(TRAIN) % (TRAIN // 3))
    assert len({run.stream() for run in runs}) == 1 < len({run.stream() for run in (runs[0], world.experiment())})
    check(list(runs))


def encoded(monkeypatch: pytest.MonkeyPatch, artefacts: list[Artefact], kept_bytes: float = 0) -> int:
    """How many images pass through the encoder while these are made, by default without crops that are kept."""
    images, real = 0, Encoder.__call__

    def counted(self: Encoder, given: Any) -> Any:
        nonlocal images
        images += len(given)
        return real(self, given)

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "__call__", counted)
        make(artefacts, "demo", Execution(kept_bytes=kept_bytes))
    return images


def test_as_many_images_pass_as_the_union_has(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is added later passes what is missing, and trains nothing again."""
    runs = [world.experiment(method=name, **METHODS[name]) for name in ("self-aug", "dp-mix-self", "dp-mix-diff")]
    others = 40 + 48  # test images, and D
    units = (encoded(monkeypatch, [runs[0]]) - others) / 2
    before = runs[0].path("demo").read_bytes()
    # Mixtures of two members and of three are the same at 1/3 · 1/2 + 1/6 · 1/2.
    views = 2 + 2 + 1 + 2 - 2 / 4
    assert ViewUnion.of([run.wanted_views() for run in runs]).views == pytest.approx(views)
    assert (encoded(monkeypatch, list(runs[1:])) - others) / units == pytest.approx(views, rel=0.05)
    assert runs[0].path("demo").read_bytes() == before
    for run in runs[:2]:
        run.path("demo").unlink()
    assert encoded(monkeypatch, list(runs[:2])) - others == 4 * units


def test_a_release_shares_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    release = {"release": True, "learning_rate": 1.0, "k_diff": 0, "synthetic": None}
    model = world.experiment().model.model_copy(update={"standardize": "none"})
    one, other = (world.experiment(k_self=k_self, model=model, **release) for k_self in (0, 2))
    assert one.stream() != other.stream()
    plan = plan_for(one.plan())
    methods = [Method(run, load_data(run, "demo"), [Head(plan, 1.0, "a")]) for run in (one, other)]
    with pytest.raises(PrivacyError, match="must have the same data, encoder, seed and samples; train them apart"):
        train_methods(methods, Featurizer(blocks))

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a release was made of shared views")

    monkeypatch.setattr(embedded_views, "make_union_views", never)
    (outcome,) = train_methods(methods[:1], Featurizer(blocks))
    assert outcome.seconds is None


def stopped(artefacts: list[Artefact], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make them until a step in the middle."""
    real = SeededNoise.add

    def add(self: SeededNoise, total: Any, std: Any, *, step: int, name: str) -> Any:
        if step == 7:
            raise KeyboardInterrupt
        return real(self, total, std, step=step, name=name)

    with monkeypatch.context() as patch:
        patch.setattr(SeededNoise, "add", add)
        with pytest.raises(KeyboardInterrupt):
            make(artefacts, "demo", Execution(checkpoint_seconds=0))


def test_a_stream_of_several_methods_that_was_stopped_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Artefact] = list(methods_of(world)[:5])
    make(runs, "demo")
    whole = [content(one.path("demo")) for one in runs]
    stopped(runs, monkeypatch)
    assert len(list(Path("results/demo/checkpoints").iterdir())) == 1
    make(runs, "demo", Execution(checkpoint_seconds=0))
    assert [content(one.path("demo")) for one in runs] == whole
    # A checkpoint of more methods is not one of fewer.
    stopped(runs, monkeypatch)
    make(runs[:2], "demo", Execution(checkpoint_seconds=0))
    assert [content(one.path("demo")) for one in runs[:2]] == whole[:2]
    assert all(isinstance(experiment_of(one), Experiment) for one in runs)


def test_where_memory_runs_out_nothing_else_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Artefact] = list(methods_of(world)[1:4])
    make(runs, "demo")
    expected = [content(one.path("demo")) for one in runs]
    real = embedded_views.make_union_views

    def limited(private: Any, units: Any, *args: Any, **kwargs: Any) -> Any:
        if len(units) > 6:
            raise MemoryError
        return real(private, units, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(embedded_views, "make_union_views", limited)
        make(runs, "demo")
    said = read_json(runs[0].path("demo"))["execution"]
    assert said["halved_to"] <= 6
    assert said["methods"] == 3
    for one, before in zip(runs, expected, strict=True):
        same(content(one.path("demo")), before)


def test_of_the_time_each_has_the_share_of_its_views(world: World) -> None:
    """Table 13 compares methods by their own time, and they may have been trained together."""
    runs = [world.experiment(method=name, **METHODS[name]) for name in ("self-aug", "dp-mix-self", "unmixed")]
    plan = plan_for(runs[0].plan())
    methods = [Method(run, load_data(run, "demo"), [Head(plan, 1.0, "a")]) for run in runs]
    outcomes: list[Outcome] = train_methods(methods, Featurizer(blocks), kept_bytes=0)
    seconds = [outcome.seconds or math.nan for outcome in outcomes]
    # Two base views; two mixtures beside them; and two base views and one of D, of which four are copies.
    assert [one / seconds[0] * 2 for one in seconds] == pytest.approx([2, 4, 3])
