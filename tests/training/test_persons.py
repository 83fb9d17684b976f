"""Runs with `unit: person`: what they read, hold out and write, from their stores to the released model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors import safe_open

from dpmix.artefacts.data import ImageStore
from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.data.images import Images, load
from dpmix.data.persons import Persons
from dpmix.data.sources import prepare
from dpmix.errors import DataError
from dpmix.files import read_json
from dpmix.models.features import Featurizer
from dpmix.params.models import EncoderSpec
from dpmix.params.specs import DatasetSpec
from dpmix.privacy.accounting import Steps
from dpmix.privacy.group_privacy import group_epsilon
from dpmix.privacy.plan import Plan
from dpmix.release.statement import read_statement
from dpmix.training.data import TrainingData, load_data
from dpmix.training.heads import Head, train_heads
from dpmix.training.runner import make
from tests.training.conftest import CLASSES, DATASET, PIXELS, TEST, World, draw, write_store

pytestmark = pytest.mark.filterwarnings("ignore")

# 211 images of 24 persons, some of one image and some of many; no other number of a run is 211.
IMAGES, PERSONS = 211, 24
BY_PERSON: DatasetSpec = DATASET.model_copy(update={"train": None, "persons": PERSONS})
UNIT: dict[str, Any] = {"dataset": BY_PERSON, "unit": "person", "batch_size": 8, "epochs": 2}


def owners() -> np.ndarray:
    random = np.random.default_rng(0)
    return random.permutation(np.concatenate([np.arange(PERSONS), random.integers(0, 12, IMAGES - PERSONS)]))


def write(persons: np.ndarray | None) -> None:
    store = ImageStore(dataset=BY_PERSON, resolution=PIXELS).path("demo").parent
    write_store(store, train=draw(IMAGES, 0), test=draw(TEST, 1))
    if persons is not None:
        np.save(store / "train_persons.npy", persons)


@pytest.fixture(params=["scratch", "head"])
def run(world: World, request: pytest.FixtureRequest) -> Experiment:
    write(owners())
    return (world.scratch if request.param == "scratch" else world.experiment)(**UNIT, release=True)


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def test_nothing_that_is_written_says_how_many_images_there_are(run: Experiment) -> None:
    make([run], "demo")
    with safe_open(run.directory("demo") / "model.safetensors", framework="np") as file:
        said = file.metadata()
    _, labels = draw(IMAGES, 0)
    private = {IMAGES, *np.bincount(labels).tolist(), int(np.bincount(owners()).max())}
    metrics = read_json(run.path("demo"))
    assert not private & set(numbers(metrics))
    assert not {str(number) for number in private} & set(said.values())
    assert metrics["unit"] == said["unit"] == read_json(run.plan().path("demo"))["unit"] == "person"
    stated = read_statement(run.directory("demo") / "model.safetensors")
    assert (stated.population, stated.protected) == (PERSONS, "one person with all their images")
    assert stated.mechanism[0].sampling_rate == pytest.approx(8 / PERSONS)
    assert stated.epsilons["rdp"] <= run.epsilon


def test_the_plan_is_that_of_as_many_images_but_another_file(world: World) -> None:
    by_person = world.experiment(**UNIT).plan()
    by_image = world.experiment(
        **{**UNIT, "unit": "image", "dataset": DATASET.model_copy(update={"train": PERSONS})}
    ).plan()
    assert by_person.path("demo") != by_image.path("demo")
    first, second = by_person.calibrated(), by_image.calibrated()
    assert (first.unit, second.unit) == ("person", "image")
    assert first.noise_multiplier == second.noise_multiplier
    assert first.sensitivity == second.sensitivity == 1.0
    assert by_person.difference(second) == "its unit is image, not person"
    # Where the number of images is published too, persons are still what is counted.
    both = BY_PERSON.model_copy(update={"train": IMAGES})
    assert world.experiment(**{**UNIT, "dataset": both}).population == PERSONS
    assert world.experiment(**{**UNIT, "dataset": both, "unit": "image"}).population == IMAGES


def test_no_person_is_in_both_parts_of_a_tuning_run(world: World) -> None:
    write(owners())
    run = world.experiment(**UNIT, holdout=0.25)
    data = load_data(run, "demo")
    assert data.private.persons is not None
    assert data.evaluation.persons is not None
    trained_on, held_out = set(data.private.persons.tolist()), set(data.evaluation.persons.tolist())
    assert not trained_on & held_out
    assert trained_on | held_out == set(range(PERSONS))
    assert len(held_out) == run.held_out_size == 6
    assert data.persons is not None
    assert len(data.persons) == run.population == 18
    assert len(data.private) + len(data.evaluation) == IMAGES
    # Numbered anew, each still has their own images.
    for number, person in enumerate(sorted(trained_on)):
        mine = data.persons.images(np.array([number]), np.arange(data.persons.counts(np.array([number]))[0])[None])[0]
        assert data.private.persons[mine].tolist() == [person] * len(mine)
    make([Selection(experiment=run, learning_rates=(1.0, 4.0))], "demo")


def test_a_store_that_does_not_say_whose_images_it_holds_is_refused(world: World) -> None:
    write(None)
    with pytest.raises(DataError, match=r"does not say whose image each is; make it from a list .* or set unit: image"):
        load_data(world.experiment(**UNIT), "demo")


@pytest.mark.parametrize("changed", [owners() % 23, owners() + (owners() == 23)], ids=["too few", "misnumbered"])
def test_another_number_of_persons_than_the_published_one_is_refused(world: World, changed: np.ndarray) -> None:
    write(changed)
    with pytest.raises(DataError, match=r"has training images of 2[34] persons, not of the published 24; delete"):
        load_data(world.experiment(**UNIT), "demo")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"dataset": DATASET},
            "unit: person samples from a published number of persons; give it as persons of the data",
        ),
        ({"unit": "image"}, "unit: image samples from a published number of images; give it as train of the data set"),
        ({"subset": "S1"}, "trains on all persons, one by one; set subset: all and microbatch_size: 1, or unit: image"),
        ({"microbatch_size": 2}, "trains on all persons, one by one; set subset: all and microbatch_size: 1"),
        ({"batch_size": 25}, "batch_size 25 exceeds the 24 training persons; lower it"),
    ],
)
def test_what_does_not_fit_is_one_line(world: World, changes: dict[str, Any], words: str) -> None:
    settings = {**UNIT, "k_diff": 0, "k_self": 0, **changes}
    with pytest.raises(ValidationError, match=words) as caught:
        world.scratch(**settings)
    assert "\n" not in caught.value.errors()[0]["msg"]


def test_a_run_by_image_is_named_as_before(world: World) -> None:
    """A setting that was added leaves earlier results where they are."""
    assert "unit" not in world.experiment().key()
    assert world.experiment(unit="image").hash == world.experiment().hash
    assert "persons" not in world.experiment().key()["dataset"]
    assert world.experiment().dataset.classes == CLASSES


def digits(tmp_path: Path) -> tuple[Images, Images, np.ndarray]:
    """The digits, and whose each training image is: 144 persons have ten (three of them nine) of all classes."""
    sizes = {"classes": 10, "train": 1437, "test": 360, "channels": 1}
    prepare(DatasetSpec(name="digits", label="Digits", source="scikit-learn", **sizes), 8, tmp_path, tmp_path / "s")
    persons = np.random.default_rng(0).permutation(np.arange(1437) % 144)
    return load(tmp_path / "s", "train"), load(tmp_path / "s", "test"), persons


@pytest.mark.slow
def test_digits_of_persons_are_learnt_far_better_by_person_than_by_image(tmp_path: Path) -> None:
    """At the same ε = 4 for a person of ten images: by image that takes a noise multiplier of 15, by person of 3."""
    train, test, whose = digits(tmp_path)
    sizes = {"classes": 10, "train": 1437, "persons": 144, "test": 360, "channels": 1}
    dataset = DatasetSpec(name="digits", label="Digits", source="scikit-learn", **sizes)
    pixels = EncoderSpec(
        kind="encoder", name="pixels", label="Pixels", architecture="none", weights="none", resolution=8
    )
    accuracies = {}
    for unit, population, rate, noise in (("person", 144, 0.5, 3.15), ("image", 1437, 0.25, 15.1)):
        run = Experiment(
            dataset=dataset, model=pixels, method="self-aug", synthetic=None, unit=unit, epsilon=4, delta=1e-5,
            accountant="pld", clip_norm=0.3, batch_size=round(rate * population), epochs=1, learning_rate=1.0,
            k_base=8, transforms=("crop",), padding=1, seed=0,
        )  # fmt: skip
        plan = Plan(population, run.batch_size, 30, 0.3, noise, 1e-5, unit=unit)
        spent = (
            plan.epsilons()["pld"]
            if unit == "person"
            else group_epsilon([Steps(noise, plan.sampling_rate, 30)], 10, delta=1e-5)
        )
        assert 3.8 < spent <= 4.0
        persons = Persons.of(whose, 144) if unit == "person" else None
        heads = [Head(plan, lr / 0.3, "head") for lr in (0.5, 1, 2, 4, 8)]
        encode = Featurizer(lambda images: (images.flatten(1) - 0.3) / 3)
        trained = train_heads(run, heads, TrainingData(train, test, None, None, persons), encode)
        accuracies[unit] = max(outcome.accuracy for outcome in trained)
    assert accuracies["person"] > accuracies["image"] + 15
