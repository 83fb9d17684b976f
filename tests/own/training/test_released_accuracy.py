"""`released_accuracy`: which answers are counted, and that noise is on their number; it is `discrete_laplace`'s."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dpmix.artefacts.data import EncoderModel
from dpmix.data.listing import ListedImage, Listing
from dpmix.own.choices.request import request
from dpmix.own.choices.setup import Setup
from dpmix.own.training.released_accuracy import counted, noisy_accuracy
from dpmix.own.training.spent import Record
from dpmix.release.model import load
from dpmix.training.runner import make
from tests.training.conftest import CLASSES, DATASET, ENCODER, TEST, World, draw

pytestmark = pytest.mark.filterwarnings("ignore")

IMAGES = (
    ListedImage("a/1.png", 0, "train", "ann"),
    ListedImage("a/4.png", 0, "test", "bob"),
    ListedImage("a/5.png", 0, "test", "cem"),
    ListedImage("b/2.png", 1, "test", "bob"),
    ListedImage("b/3.png", 1, "test", "bob"),
    ListedImage("b/9.png", 1, "test", "dora"),
)
LISTING = Listing(Path("mine"), IMAGES, ("a", "b"))


def test_every_test_image_is_counted_once() -> None:
    assert counted(LISTING, "image").tolist() == [0, 1, 2, 3, 4]


def test_of_each_person_one_image_is_counted() -> None:
    """So that a person changes the count by at most 1, whatever the number of their images."""
    places = counted(LISTING, "person").tolist()
    test = LISTING.of("test")
    assert sorted(test[place].person or "" for place in places) == ["bob", "cem", "dora"]


def test_without_a_person_the_others_images_stay() -> None:
    without = Listing(LISTING.root, tuple(one for one in IMAGES if one.person != "bob"), LISTING.classes)
    kept = [LISTING.of("test")[place].place for place in counted(LISTING, "person").tolist()]
    assert [without.of("test")[place].place for place in counted(without, "person").tolist()] == [
        place for place in kept if place not in ("a/4.png", "b/2.png", "b/3.png")
    ]


@pytest.mark.parametrize("unit", ["image", "person"])
def test_the_number_of_right_answers_gets_the_noise_that_is_on_record(world: World, unit: str) -> None:
    """With next to no noise it is theirs; with more than there are images it is none or all, by chance."""
    run = world.experiment(release=True)
    make([run], "demo")
    released, encoder = run.directory("demo") / "model.safetensors", EncoderModel(encoder=ENCODER).path("demo").parent
    pixels, labels = draw(TEST, 1)
    images = [ListedImage(f"{n:02}.png", int(label), "test", f"p{n // 3}") for n, label in enumerate(labels)]
    Path("mine").mkdir()
    listing = Listing(Path("mine"), tuple(images), tuple(f"class {number}" for number in range(CLASSES)))
    made = Setup(request("mine", None, epsilon=4, unit=unit), listing, DATASET, ENCODER, None, run.method, {})
    record = Record(Path("spent.json"))

    def accuracies(epsilon: float, times: int) -> list[float]:
        found = [noisy_accuracy(run, "demo", released, encoder, made, record, epsilon) for _ in range(times)]
        assert {one["epsilon"] for one in found} == {epsilon}
        assert {one["images"] for one in found} == {len(shown)}
        return [one["accuracy"] for one in found]

    shown = np.arange(TEST)[:: 3 if unit == "person" else 1]
    logits = load(released, encoder).logits(torch.from_numpy(pixels[shown]).float() / 255)
    right = (logits.argmax(dim=1).numpy() == labels[shown]).mean()
    assert 0 < right < 1
    # Any noise at all has a probability of 1e-4, in most of five 1e-11; equal signs of all 30 one of 2e-9.
    assert np.median(accuracies(10.0, 5)) == pytest.approx(100 * right, abs=1e-3)
    assert {0.0, 100.0} <= set(accuracies(1e-6, 30))
    assert [(one.unit, one.epsilon) for one in record.measured()] == [(unit, 10.0)] * 5 + [(unit, 1e-6)] * 30
