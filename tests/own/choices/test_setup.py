from pathlib import Path
from typing import Any

import pytest

from dpmix.data.listing import ListedImage, Listing, read_listing
from dpmix.errors import DataError, ParamsError
from dpmix.own.choices.request import request
from dpmix.own.choices.setup import Setup, data_set, learning_rate_of, relative, setup, sizes
from dpmix.privacy.plan import Plan
from tests.own.drawn import draw


def made(images: Path, **options: Any) -> Setup:
    asked = request(images, None, **{"epsilon": 4, "encoder": "tiny-vit/strokes", "side": 16, **options})
    return setup(asked, read_listing(asked.images))


def test_what_is_asked_for_is_in_the_run_and_it_is_a_release(images: Path) -> None:
    one = made(images, delta=1e-6, batch_size=12, epochs=3, clip_norm=0.5, k_base=2, k_self=3, method="dp-mix-self")
    run = one.experiment(0.7, 11)
    assert (run.delta, run.batch_size, run.epochs, run.clip_norm, run.learning_rate, run.seed) == (
        1e-6,
        12,
        3,
        0.5,
        0.7,
        11,
    )
    assert (run.release, run.private_seed, run.views, one.views) == (True, None, 5, 5)
    train = len(read_listing(images).of("train"))
    assert (run.population, one.population, one.plan_file().population) == (train, train, train)
    assert one.plan_file().path("own") == run.plan().path("own")
    research = made(images, research=True).experiment(0.7, 3)
    assert (research.release, research.private_seed) == (False, 3)


def test_methods_are_what_they_mix(images: Path) -> None:
    draw(Path("public"), 4, seed=5)
    kinds = {}
    for method in ("self-aug", "dp-mix-self", "dp-mix-diff"):
        settings = made(images, method=method, synthetic="public").settings
        kinds[method] = [settings[name] > 0 for name in ("k_base", "k_self", "k_diff")]
    assert kinds == {
        "self-aug": [True, False, False],
        "dp-mix-self": [True, True, False],
        "dp-mix-diff": [True, True, True],
    }
    mixed = made(images, synthetic="public")
    assert (mixed.method, mixed.synthetic.size if mixed.synthetic else 0) == ("dp-mix-diff", 12)
    with pytest.raises(ParamsError, match="self-aug mixes nothing; leave out `k_self` and `k_diff`"):
        made(images, method="self-aug", k_self=2)


def test_public_images_are_not_private_ones(images: Path) -> None:
    for place in ("my-images", "my-images/blood", "."):
        with pytest.raises(DataError, match="is said to be public, but it is, holds or lies in the private images"):
            made(images, synthetic=place)


def test_a_rate_that_is_asked_for_is_used_and_else_the_rule_gives_one_for_the_noise(images: Path) -> None:
    plans = [
        Plan.make(population=120, batch_size=30, epochs=4, clip_norm=1.0, noise_multiplier=sigma, delta=1e-5)
        for sigma in (1.0, 8.0)
    ]
    assert learning_rate_of(made(images, learning_rate=0.3), plans[0], 64) == 0.3
    low, high = (learning_rate_of(made(images), plan, 64) for plan in reversed(plans))
    assert 0 < low < high


def test_one_class_is_none(tmp_path: Path) -> None:
    draw(tmp_path / "mine", 3)
    for name in ("bile", "water"):
        for path in (tmp_path / "mine" / name).iterdir():
            path.unlink()
        (tmp_path / "mine" / name).rmdir()
    with pytest.raises(DataError):
        made(tmp_path / "mine")


def test_in_words(images: Path) -> None:
    listing = read_listing(images)
    train, test = len(listing.of("train")), len(listing.of("test"))
    assert sizes(listing, request(images, None, epsilon=1)) == (
        f"{train} training images and {test} test images of 3 classes"
    )
    assert relative(Path.cwd() / "a" / "b") == Path("a/b")
    assert relative(Path("/elsewhere")) == Path("/elsewhere")


def test_a_delta_that_promises_nothing_is_refused(images: Path) -> None:
    with pytest.raises(ParamsError, match=r"delta 0.5 is not below 1 / N = .*; give one well below, such as 1e-05"):
        made(images, delta=0.5)


def test_of_persons_no_number_of_images_is_told_and_nobody_is_on_both_sides(images: Path) -> None:
    asked = request(images, None, epsilon=4, unit="person")
    listed = [
        ListedImage(f"{person}/{number}.png", number % 2, "train" if person != "c" else "test", person)
        for person in "abc"
        for number in range(5)
    ]
    listing = Listing(images, tuple(listed), ("left", "right"), ())
    assert sizes(listing, asked) == "2 training persons and 1 test persons of 2 classes"
    assert data_set(listing, asked).train is None
    both = listing.images[0]._replace(split="test", place="a/x.png")
    with pytest.raises(
        DataError, match="1 person has images in train and test, so that ε would not cover them: a; lay"
    ):
        data_set(Listing(images, (*listed, both), ("left", "right"), ()), asked)


def test_a_folder_is_called_by_its_whole_name(images: Path) -> None:
    for name in ("faces.v1", "faces.v2"):
        draw(Path(name), 20)
    assert [made(Path(name)).dataset.name for name in ("faces.v1", "faces.v2")] == ["faces.v1", "faces.v2"]
