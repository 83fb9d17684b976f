"""What is wrong with a folder is found and said, and what is not wrong is not."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix.data.listing import read_listing
from dpmix.errors import DataError
from dpmix.own.images.check import TINY, Report, as_json, examine
from dpmix.own.images.fit import refuse_unfit, unfit
from tests.data.conftest import folder_of, lay


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound") / "mine"
    folder_of(root / "train", {"cat": TINY, "dog": TINY})
    folder_of(root / "other", {"a": 5, "b": 5, "cat": 5, "dog": 5})
    (root / "test").mkdir()
    for name in ("cat", "dog"):
        shutil.move(root / "other" / name, root / "test" / name)
    shutil.rmtree(root / "other")
    return root


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "mine"))


def report(root: Path, **options: bool) -> Report:
    return examine(read_listing(root), **options)


def the(sentences: tuple[str, ...], words: str) -> str:
    (found,) = (sentence for sentence in sentences if words in sentence)
    return found


def test_a_sound_folder_has_nothing_to_mend_and_nothing_to_know(root: Path) -> None:
    found = report(root)
    assert (found.mend, found.warnings, found.damaged, found.groups) == ((), (), (), ())
    assert found.counts == {"cat": (TINY, 5), "dog": (TINY, 5)}


# What must be mended
def test_all_damaged_images_are_named(root: Path) -> None:
    (root / "train" / "cat" / "003.png").write_text("text")
    (root / "test" / "dog" / "001.png").write_bytes(b"")
    found = report(root)
    assert [one.place for one in found.damaged] == ["train/cat/003.png", "test/dog/001.png"]
    assert "2 images are damaged" in found.mend[0]
    assert "train/cat/003.png" in found.mend[0]
    assert found.counts["cat"] == (TINY - 1, 5)
    left = report(root, leave_out_damaged=True)
    assert left.mend == ()
    assert the(left.warnings, "train/cat/003.png").startswith("Skipped, cannot be read as an image")


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("test", "there is no test image"),
        ("train/dog", "class dog has no training image; add some"),
    ],
)
def test_what_no_model_can_be_made_of(gone: str, words: str, root: Path) -> None:
    shutil.rmtree(root / gone)
    if gone == "test":  # a folder of one split alone is refused when it is listed
        (root / "labels.csv").write_text(
            "file_name,label,split\n"
            + "".join(
                f"train/{name}/{index:03d}.png,{name},train\n" for name in ("cat", "dog") for index in range(TINY)
            ),
            encoding="utf-8",
        )
    listing = read_listing(root)
    assert [reason for reason in unfit(listing) if reason.startswith(words)]
    assert the(examine(listing).mend, words)
    with pytest.raises(DataError, match=words):
        refuse_unfit(listing)


def test_one_file_by_two_names_is_mended_before_training(root: Path) -> None:
    (root / "train" / "cat" / "again.png").symlink_to("001.png")
    os.link(root / "test" / "dog" / "001.png", root / "train" / "dog" / "hard.png")
    (said,) = report(root).mend
    assert said.startswith("2 files are there under several names")
    assert "train/cat/001.png = train/cat/again.png" in said
    assert "test/dog/001.png = train/dog/hard.png" in said
    with pytest.raises(DataError, match="would count as several images with the protection of one") as caught:
        refuse_unfit(read_listing(root))
    assert len(str(caught.value).splitlines()) == 1


# What is worth knowing
def test_tiny_classes_and_classes_without_test_images(root: Path) -> None:
    (root / "train" / "cat" / "000.png").unlink()
    shutil.rmtree(root / "test" / "dog")
    found = report(root)
    assert found.mend == ()
    assert the(found.warnings, "fewer than").endswith(f"cat ({TINY - 1})")
    assert the(found.warnings, "no test image").endswith("dog")


def test_copies_in_train_across_splits_and_across_classes(root: Path) -> None:
    train, test = root / "train", root / "test"
    shutil.copy(train / "cat" / "000.png", train / "cat" / "again.png")
    shutil.copy(train / "cat" / "000.png", train / "cat" / "and again.png")
    shutil.copy(train / "dog" / "000.png", test / "dog" / "copy.png")
    shutil.copy(train / "dog" / "001.png", train / "cat" / "not a cat.png")
    found = report(root)
    assert found.mend == ()
    assert [group.alike for group in found.groups] == [False] * 3
    within = the(found.warnings, "protected less")
    assert within.startswith("2 groups of training images are the same file, up to 3;")
    across = the(found.warnings, "test accuracy is too high")
    assert across.startswith("1 test image and training images are the same file")
    assert across.endswith(": train/dog/000.png = test/dog/copy.png")
    assert the(found.warnings, "classes differ").endswith("train/cat/not a cat.png = train/dog/001.png (cat and dog)")


def test_pictures_that_look_alike_are_told_apart_from_copies(root: Path) -> None:
    train = root / "train" / "cat" / "007.png"
    image = Image.open(train)
    image.resize((36, 36), Image.Resampling.BICUBIC).save(root / "test" / "cat" / "larger.png")
    image.save(root / "train" / "cat" / "saved anew.bmp")
    found = report(root)
    (group,) = found.groups
    assert (group.alike, group.in_train, group.in_test, group.classes) == (True, 2, 1, ("cat",))
    assert set(group.places) == {"train/cat/007.png", "test/cat/larger.png", "train/cat/saved anew.bmp"}
    assert the(found.warnings, "test accuracy may be too high").endswith(" ≈ test/cat/larger.png")
    assert the(found.warnings, "protected less").endswith(": train/cat/007.png ≈ train/cat/saved anew.bmp")
    assert report(root, alike=False).groups == ()


def test_persons_with_many_images_and_on_both_sides(root: Path) -> None:
    lines = ["file_name,person\n"]
    for split, count in (("train", TINY), ("test", 5)):
        for name in ("cat", "dog"):
            lines += [f"{split}/{name}/{index:03d}.png,{name}{index // 10}\n" for index in range(count)]
    (root / "persons.csv").write_text("".join(lines), encoding="utf-8")
    found = report(root)
    many = the(found.warnings, "`unit='person'`")
    assert many.startswith("10 of 10 persons have several training images, 10 in the middle and 10 at most (cat0)")
    assert [line for line in report(root, unit="person").warnings if "unit=" in line] == []
    assert the(found.warnings, "images in train and test").endswith("cat0, dog0")


def test_one_image_of_each_person_needs_no_word(root: Path) -> None:
    lines = ["file_name,person\n"]
    for split, count in (("train", TINY), ("test", 5)):
        lines += [
            f"{split}/{name}/{index:03d}.png,{split}{name}{index}\n"
            for name in ("cat", "dog")
            for index in range(count)
        ]
    (root / "persons.csv").write_text("".join(lines), encoding="utf-8")
    assert report(root).warnings == ()


def test_folders_below_classes_are_asked_about(root: Path) -> None:
    (root / "train" / "cat" / "p1").mkdir()
    shutil.move(root / "train" / "cat" / "000.png", root / "train" / "cat" / "p1" / "000.png")
    assert "`unit='person'`" in the(report(root).warnings, "folders below")


def test_what_is_skipped_is_told_by_reason_but_for_litter(root: Path) -> None:
    lay(root, "train/cat/.DS_Store", "train/cat/a.txt", "train/b.heic", "train/cat/.hidden.png")
    found = report(root)
    assert the(found.warnings, "not an image that Pillow reads").endswith("train/b.heic, train/cat/a.txt")
    assert the(found.warnings, "hidden").endswith("train/cat/.hidden.png")
    assert len(found.warnings) == 2


def test_the_report_is_all_in_json(root: Path) -> None:
    lay(root, "train/cat/a.txt", "train/cat/empty.png")
    shutil.copy(root / "train" / "dog" / "000.png", root / "test" / "dog" / "copy.png")
    found = as_json(report(root))
    assert found["classes"] == {"cat": {"train": TINY, "test": 5}, "dog": {"train": TINY, "test": 6}}
    assert [one["place"] for one in found["damaged"]] == ["train/cat/empty.png"]  # type: ignore[index, attr-defined]
    assert [one["place"] for one in found["skipped"]] == ["train/cat/a.txt"]  # type: ignore[index, attr-defined]
    assert found["duplicates"] == [
        {
            "images": ["train/dog/000.png", "test/dog/copy.png"],
            "why": "same file",
            "train": 1,
            "test": 1,
            "classes": ["dog"],
        }
    ]
    assert found["covered_by_epsilon"] is False
    assert found["persons"] is None


@pytest.mark.slow
def test_ten_thousand_small_images_take_less_than_a_minute(tmp_path: Path) -> None:
    import time

    generator = np.random.default_rng(0)
    for split, count in (("train", 800), ("test", 200)):
        for number in range(10):
            folder = tmp_path / "mine" / split / f"c{number}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    started = time.monotonic()
    found = report(tmp_path / "mine")
    assert time.monotonic() - started < 60
    assert (found.mend, found.warnings, found.groups) == ((), (), ())
