"""What no model can be trained and tested on is said before anything is decoded."""

import os
from pathlib import Path

from dpmix.data.listing import read_listing
from dpmix.own.images.fit import unfit
from tests.data.conftest import folder_of, lay


def test_one_file_of_one_person_is_protected_with_all_of_theirs(tmp_path: Path) -> None:
    folder_of(tmp_path / "mine" / "cat", {"ann": 2, "bob": 2})
    folder_of(tmp_path / "mine" / "dog", {"ann": 2, "eve": 2})
    mine = tmp_path / "mine"
    os.link(mine / "cat" / "ann" / "000.png", mine / "cat" / "ann" / "again.png")
    assert not any("several names" in one for one in unfit(read_listing(mine, persons=True), "person"))
    os.link(mine / "cat" / "ann" / "000.png", mine / "cat" / "bob" / "again.png")
    (said,) = [one for one in unfit(read_listing(mine, persons=True), "person") if "several names" in one]
    assert "would count as several persons" in said


def test_one_class_is_none(tmp_path: Path) -> None:
    listing = read_listing(lay(tmp_path / "mine", "train/cat/1.png", "test/cat/2.png"))
    assert unfit(listing) == ["all images are of one class, cat; add images of another"]


def test_a_class_that_a_drawn_split_tests_only_says_how_to_keep_it(tmp_path: Path) -> None:
    root = lay(tmp_path / "mine", *(f"class {number}/1.png" for number in range(40)))
    (reason,) = unfit(read_listing(root))
    assert "no training image; add images, leave it out, or say in a table" in reason


def test_without_a_test_image_a_drawn_split_can_be_drawn_otherwise(tmp_path: Path) -> None:
    root = lay(tmp_path / "mine", *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(20)))
    (reason,) = unfit(read_listing(root, test_share=1e-9))
    assert reason == "there is no test image; add images, or ask for a larger share of test images: `test_share`"
    assert unfit(read_listing(root, test_share=0.5)) == []
