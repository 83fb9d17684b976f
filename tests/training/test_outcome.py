import pytest

from dpmix.artefacts.data import EncoderModel
from dpmix.artefacts.experiment import Experiment
from dpmix.files import read_json
from dpmix.privacy.accounting import epsilons
from dpmix.seals import file_digest, read_record, seal_of, write_record
from dpmix.training.runner import make
from tests.training.conftest import ENCODER, World, plan_for

pytestmark = pytest.mark.filterwarnings("ignore")


def test_metrics_say_what_was_run(world: World) -> None:
    run = world.experiment()
    make([run], "demo")
    metrics = read_json(run.path("demo"))
    assert metrics["accuracy"] == metrics["accuracy_by_epoch"][-1]
    assert metrics["best_epoch_on_test"] == max(metrics["accuracy_by_epoch"])
    (executed,) = metrics["executed"]
    spent = epsilons(**executed, delta=run.delta)
    assert metrics["epsilon"] == {"target": 2.0, **spent}
    assert set(spent) == {"rdp", "prv", "pld"}
    assert 1.99 < spent["rdp"] <= 2.0
    assert metrics["steps"] == {"planned": 12, "executed": 12}
    assert (metrics["sampling_rate"], metrics["sensitivity"]) == (0.25, 1.0)
    assert metrics["noise_multiplier"] == plan_for(run.plan()).noise_multiplier
    assert (metrics["learning_rate"], metrics["learning_rate_from"]) == (4.0, "params.yaml")
    assert Experiment(**metrics["experiment"]) == run


def test_metrics_say_what_a_run_was_made_from(world: World) -> None:
    run = world.experiment()
    store = run.images().path("demo")
    write_record(store, read_json(store))  # as the workflow leaves it
    write_record(run.plan().path("demo"), read_json(run.plan().path("demo")))
    made_from = [run.images(), run.encoder(), run.plan()]
    seals = {one.path("demo").as_posix(): seal_of(one.path("demo")) for one in made_from if one}
    assert None not in seals.values()
    make([run], "demo")
    metrics = read_record(run.path("demo"))
    assert metrics["inputs"] == seals  # of D, an old store, nothing is known
    assert metrics["seeds"] == {"views": 1, "samples_and_noise": 1}
    assert {"dpmix", "torch", "python", "numpy", "dp-accounting", "opacus", "open_clip_torch", "timm"} == set(
        metrics["versions"]
    )
    network = world.scratch()
    make([network], "demo")
    assert "timm" not in read_record(network.path("demo"))["versions"]


def test_a_release_says_nothing_that_depends_on_private_images_without_noise(world: World) -> None:
    """A digest of the store would tell two data sets apart that differ in one image."""
    run = world.experiment(release=True, epochs=1)
    store = run.images().path("demo")
    write_record(store, read_json(store))
    make([run], "demo")
    metrics = read_record(run.path("demo"))
    assert list(metrics["inputs"]) == [EncoderModel(encoder=ENCODER).path("demo").as_posix()]
    assert metrics["seeds"] == {"views": 1, "samples_and_noise": "the operating system"}
    held = seal_of(store)
    assert held is not None
    for path in run.directory("demo").iterdir():
        assert held.encode() not in path.read_bytes()
    assert metrics["files"] == {"model.safetensors": file_digest(run.directory("demo") / "model.safetensors")}
