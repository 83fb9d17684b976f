"""A person's views are of that person's images: which ones, how often, with whose label, and in whose company."""

from collections import Counter

import numpy as np
import pytest
import torch

from dpmix.data.images import Images
from dpmix.data.persons import Persons
from dpmix.random import KeyedRandom
from dpmix.views.mixing import Views, make_views
from dpmix.views.person_views import choose_places, make_person_views
from dpmix.views.settings import ViewSettings

SIDE, CLASSES = 6, 4
# Persons with one image, with fewer than views, as many, and far more; and one who has left.
COUNTS = [1, 3, 4, 60, 0, 1, 2]
METHODS = {
    "dp-sgd": ViewSettings(1),
    "self-aug": ViewSettings(4),
    "dp-mix-self": ViewSettings(4, k_self=5),
    "dp-mix-diff": ViewSettings(3, k_diff=2, k_self=4),
    "pure-dp-mix-diff": ViewSettings(0, k_diff=3, k_self=2),
    "cutmix": ViewSettings(4, k_self=3, mixing="cutmix"),
}
methods = pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)


def owners(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))


def images(count: int, seed: int) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.integers(1, 255, (count, 1, SIDE, SIDE)).astype(np.uint8)
    return Images(pixels, random.integers(0, CLASSES, count), tuple(map(str, range(CLASSES))))


PRIVATE, D = images(sum(COUNTS), 1), images(7, 2)


def views_of(private: Images, persons: np.ndarray, units: list[int], settings: ViewSettings, step: int = 0) -> Views:
    people, chosen = Persons.of(persons, len(COUNTS)), np.array(units)
    return make_person_views(private, people, chosen, settings, KeyedRandom(3, step, chosen), D)


@methods
def test_a_person_with_one_image_has_the_views_of_that_image(settings: ViewSettings) -> None:
    settings = ViewSettings(**{**vars(settings), "transforms": ("crop", "flip", "jitter"), "padding": 1})
    persons, units = owners(), [0, 5]
    of_persons = views_of(PRIVATE, persons, units, settings)
    places = [int(np.flatnonzero(persons == unit)[0]) for unit in units]
    of_images = make_views(PRIVATE, places, settings, KeyedRandom(3, 0, units), D)
    for name in ("images", "targets", "weights", "pairs"):
        assert torch.equal(getattr(of_persons, name), getattr(of_images, name)), name


@pytest.mark.parametrize("k", [1, 4, 7])
def test_each_view_shows_an_image_of_the_person_under_its_own_label(k: int) -> None:
    persons, units = owners(), [1, 3, 6]
    views = views_of(PRIVATE, persons, units, ViewSettings(k))
    for unit, pixels, targets in zip(units, (views.images * 255).round().byte(), views.targets, strict=True):
        mine = np.flatnonzero(persons == unit)
        shown = [next(i for i in mine if np.array_equal(view, PRIVATE.images[i])) for view in pixels.numpy()]
        assert targets.argmax(dim=1).tolist() == PRIVATE.labels[shown].tolist()
        # No image is shown twice more often than another.
        times = [Counter(shown)[int(image)] for image in mine]
        assert max(times) - min(times) <= 1
        assert min(times) >= 1 or len(mine) > k


def test_every_choice_is_as_probable_as_any_other() -> None:
    """Of five images three are shown: ten choices, each a tenth of the time; within 5 standard deviations."""
    steps = 3000
    drawn = [choose_places(np.full(4, 5), 3, KeyedRandom(0, step, range(4))) for step in range(steps // 4)]
    sets = Counter(tuple(sorted(row)) for places in drawn for row in places.tolist())
    assert len(sets) == 10
    assert all(len(set(choice)) == 3 for choice in sets)
    assert all(abs(times - steps / 10) < 5 * (steps * 0.09) ** 0.5 for times in sets.values())
    # Two images and three views: each once, and one of them again.
    again = Counter(tuple(choose_places(np.array([2]), 3, KeyedRandom(0, step, [9]))[0]) for step in range(500))
    assert set(again) == {(0, 1, 0), (0, 1, 1)}
    assert abs(again[0, 1, 0] - 250) < 5 * 125**0.5


def test_another_step_shows_other_images() -> None:
    persons = owners()
    first, second = (views_of(PRIVATE, persons, [3], ViewSettings(4), step) for step in (0, 1))
    assert not torch.equal(first.images, second.images)


@methods
def test_views_depend_on_the_persons_own_images_alone(settings: ViewSettings) -> None:
    persons = owners()
    kept = views_of(PRIVATE, persons, [1, 3], settings)
    # Everybody else's images are others, and one of them has left with all of theirs.
    other = images(len(persons), 9)
    mine = np.isin(persons, [1, 3])
    pixels = np.where(mine[:, None, None, None], PRIVATE.images, other.images)
    labels = np.where(mine, PRIVATE.labels, other.labels)
    stayed = persons != 2
    changed = Images(pixels[stayed], labels[stayed], PRIVATE.classes)
    found = views_of(changed, persons[stayed], [3, 6, 1], settings)
    for name in ("images", "targets", "weights", "pairs"):
        assert torch.equal(getattr(kept, name), getattr(found, name)[[2, 0]]), name


def test_different_images_of_a_person_are_mixed() -> None:
    """What makes the person's unit worth having: some mixtures are of two images, and none is of two persons'."""
    persons = owners()
    views = views_of(PRIVATE, persons, [2], ViewSettings(4, k_self=6))
    assert len(views.pairs[0]) == 6
    for mixture, (a, b), weight in zip(views.images[0, 4:], views.pairs[0], views.weights[0], strict=True):
        first, second = views.images[0, a], views.images[0, b]
        assert not torch.equal(first, second)
        assert torch.allclose(mixture, weight * first + (1 - weight) * second, atol=1e-6)


def test_a_person_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="a person without images has no views; leave them out by"):
        views_of(PRIVATE, owners(), [3, 4], ViewSettings(2))
