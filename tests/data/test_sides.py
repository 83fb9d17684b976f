"""A drawn split depends on names alone."""

import subprocess
from pathlib import Path

from dpmix.data.listing import read_listing
from dpmix.data.sides import in_test
from tests.data.conftest import archive, lay


def test_a_drawn_split_is_that_of_names_and_stays_when_images_come_and_go(tmp_path: Path) -> None:
    root = lay(tmp_path / "mine", *(f"{name}/{index}.png" for name in "ab" for index in range(1000)))
    before = read_listing(root)
    share = len(before.of("test")) / 2000
    assert abs(share - 0.2) < 6 * (0.2 * 0.8 / 2000) ** 0.5  # false for two keys in a thousand million
    assert "drawn by the key 'dpmix'" in before.split
    sides = {image.place: image.split for image in before.images}
    assert sides["a/7.png"] == ("test" if in_test("a/7.png", "dpmix", 0.2) else "train")
    (root / "a" / "5.png").unlink()
    lay(root, "b/more.png", "c/1.png")
    after = {image.place: image.split for image in read_listing(root).images}
    assert {place: side for place, side in after.items() if place in sides} == {
        place: side for place, side in sides.items() if place != "a/5.png"
    }
    other = {image.place: image.split for image in read_listing(root, key="other").images}
    assert other != after
    assert len(read_listing(root, test_share=0.5).of("test")) > 1.5 * len(before.of("test"))


def test_a_drawn_split_is_the_same_in_an_archive_and_in_any_folder(tmp_path: Path) -> None:
    places = [f"{name}/{index}.png" for name in ("cat", "kä") for index in range(50)]
    root = lay(tmp_path / "mine", *places)
    sides = {image.place: image.split for image in read_listing(root).images}
    path = archive(tmp_path / "d.zip", {f"some/folder/{place}": b"" for place in places})
    for image in read_listing(path).images:
        assert sides[image.place.removeprefix("some/folder/")] == image.split
    decomposed = lay(tmp_path / "mac", *(place.replace("ä", "a\N{COMBINING DIAERESIS}") for place in places))
    listing = read_listing(decomposed)
    assert listing.classes == ("cat", "kä")
    assert [image.split for image in listing.images] == [image.split for image in read_listing(root).images]


def test_nobody_is_on_both_sides(tmp_path: Path) -> None:
    root = lay(tmp_path / "mine", *(f"{name}/p{who}/{i}.png" for name in "ab" for who in range(60) for i in range(3)))
    listing = read_listing(root, persons=True)
    assert not set(listing.persons("train")) & set(listing.persons("test"))
    assert 1 <= len(listing.persons("test")) < 30
    assert "'dpmix', a person being tested on" in listing.split
    assert "'dpmix', an image being tested on" in read_listing(root).split


def test_known_sides() -> None:
    """SHA-256 by another program: printf 'dpmix\\0cat/1.png' | sha256sum."""
    for name in ("cat/1.png", "p 7", "kä/猫.png"):
        printed = subprocess.run(
            ["sha256sum"], input=b"dpmix\0" + name.encode(), capture_output=True, check=True
        ).stdout
        share = int(printed[:16], 16) / 2**64
        assert in_test(name, "dpmix", share + 1e-9)
        assert not in_test(name, "dpmix", share - 1e-9)
