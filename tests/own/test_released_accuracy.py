"""`released_accuracy`: which answers are counted; the noise is that of `privacy.discrete_laplace`."""

from pathlib import Path

from dpmix.data.listing import ListedImage, Listing
from dpmix.own.released_accuracy import counted

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
