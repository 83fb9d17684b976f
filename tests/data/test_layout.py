"""Splits and classes by folders: what is understood, and what is refused because it leaves open what is meant."""

from pathlib import Path

import pytest

from dpmix.data.layout import Placed, lay_out, split_word, with_archives
from dpmix.data.tree import read_tree
from dpmix.errors import DataError
from tests.data.conftest import archive, lay


def laid(*places: str, folders: int = 1) -> dict[str, tuple[str | None, str]]:
    found = lay_out("in", places, {}, folders)
    return {image.place: (image.split, "/".join(image.parts)) for image in found.images}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "TEST"),
        ("training_set", "test_set"),
        ("Training Set", "Testing Set"),
        ("training", "testing"),
        ("train-images", "test-images"),
        ("training_data", "validation_data"),
        ("train", "val"),
    ],
)
def test_names_of_splits(train: str, test: str) -> None:
    assert laid(f"{train}/a/1.png", f"{train}/b/1.png", f"{test}/a/2.png", f"{test}/b/2.png") == {
        f"{train}/a/1.png": ("train", "a/1.png"),
        f"{train}/b/1.png": ("train", "b/1.png"),
        f"{test}/a/2.png": ("test", "a/2.png"),
        f"{test}/b/2.png": ("test", "b/2.png"),
    }


def test_other_words_are_no_splits() -> None:
    assert [split_word(name) for name in ("trains", "testament", "cat", "", "set", "evaluation")] == [None] * 6


def test_validation_beside_test_is_not_used_and_alone_it_is_the_test_set() -> None:
    found = lay_out("in", ("train/a/1.png", "valid/a/2.png", "test/a/3.png"), {}, 1)
    assert [image.split for image in found.images] == ["test", "train"]
    assert [one.place for one in found.skipped] == ["valid/a/2.png"]
    assert found.notes == ()
    alone = lay_out("in", ("train/a/1.png", "valid/a/2.png"), {}, 1)
    assert [image.split for image in alone.images] == ["train", "test"]
    assert alone.skipped == ()
    assert "is the test set" in alone.notes[0]


@pytest.mark.parametrize("around", ["", "set/", "a/b/"])
def test_folders_that_all_share_say_nothing(around: str) -> None:
    assert set(laid(f"{around}a/1.png", f"{around}b/c/2.png").values()) == {(None, "a/1.png"), (None, "b/c/2.png")}
    assert set(laid(f"{around}train/a/1.png", f"{around}test/b/2.png").values()) == {
        ("train", "a/1.png"),
        ("test", "b/2.png"),
    }
    assert set(laid(f"{around}train/images/a/1.png", f"{around}test/images/a/2.png").values()) == {
        ("train", "a/1.png"),
        ("test", "a/2.png"),
    }


def test_a_person_is_no_folder_that_all_share() -> None:
    assert laid("cat/p1/1.png", "cat/p1/2.png", folders=2) == {
        "cat/p1/1.png": (None, "cat/p1/1.png"),
        "cat/p1/2.png": (None, "cat/p1/2.png"),
    }


def test_an_image_beside_the_classes_hides_none_of_them() -> None:
    assert laid("cover.png", "set/a/1.png", "set/b/1.png")["set/b/1.png"] == (None, "b/1.png")
    found = lay_out("in", ("cover.png", "train/a/1.png", "test/a/1.png"), {}, 1)
    assert [one.place for one in found.skipped] == ["cover.png"]


def test_a_class_may_be_called_train() -> None:
    assert laid("car/1.png", "train/1.png")["train/1.png"] == (None, "train/1.png")
    wheels = laid("training wheels/1.png", "training wheels/p/2.png", "test tube/p/1.png", "test tube/q/2.png")
    assert wheels["test tube/q/2.png"] == (None, "test tube/q/2.png")
    # And folders in it are persons, if there are no others.
    by_person = laid(
        "training wheels/p/1.png", "training wheels/q/1.png", "test tube/p/1.png", "test tube/q/1.png", folders=2
    )
    assert by_person["test tube/p/1.png"] == (None, "test tube/p/1.png")
    # And a kind of one, beside others.
    toys = laid("toy/train/1.png", "toy/tank/2.png", "test/1.png")
    assert toys["toy/train/1.png"] == (None, "toy/train/1.png")


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (("train/a/1.png", "train/b/1.png"), "has a folder train but not both train and test; add the other"),
        (("test/a/1.png", "valid/b/1.png"), "has a folder test but not both"),
        (("train/a/1.png", "train/b/1.png", "extra/1.png"), "has a folder train but not both"),
        (("train/a/1.png", "test/a/1.png", "unlabelled/1.png"), "beside them, unlabelled; move it"),
        (("train/a/1.png", "test/a/1.png", "Training/a/2.png"), "Training and train are names of one split"),
        (
            ("seg_train/a/1.png", "seg_train/b/1.png", "seg_test/a/2.png", "seg_test/b/2.png", "seg_pred/1.png"),
            "has folders seg_train and seg_test, which may be splits; call them train and test",
        ),
        (("imagesTr/a/1.png", "imagesTr/b/1.png", "imagesTs/a/2.png", "imagesTs/b/2.png"), "imagesTr and imagesTs"),
        (("learn/a/1.png", "learn/b/1.png", "evaluate/a/2.png", "evaluate/b/2.png"), "folders learn and evaluate"),
        (("a/train/1.png", "a/test/2.png", "b/1.png"), "below that of a class, such as a/test; .*: test/a$"),
        (("a/1.png", "b/Training/1.png", "b/Validation/2.png"), "such as b/Training; .*: Training/b$"),
    ],
)
def test_what_leaves_open_what_is_meant_is_refused(places: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        lay_out("in", places, {}, 1)
    assert "\n" not in str(caught.value)


# Archives
def test_archives_of_splits(tmp_path: Path) -> None:
    archive(tmp_path / "Train-0.zip", {"train/a/1.png": b"", "train/b/1.png": b""})
    archive(tmp_path / "train-1.ZIP", {"train/a/2.png": b""})
    archive(tmp_path / "test_images.zip", {"test/a/3.png": b"", "test/b/3.png": b""})
    tree, splits = with_archives(read_tree(tmp_path))
    found = lay_out(tmp_path, tree.images, splits, 1)
    assert found.images == (
        Placed("Train-0.zip/train/a/1.png", "train", ("a", "1.png")),
        Placed("Train-0.zip/train/b/1.png", "train", ("b", "1.png")),
        Placed("test_images.zip/test/a/3.png", "test", ("a", "3.png")),
        Placed("test_images.zip/test/b/3.png", "test", ("b", "3.png")),
        Placed("train-1.ZIP/train/a/2.png", "train", ("a", "2.png")),
    )


def test_archives_that_leave_open_what_is_meant(tmp_path: Path) -> None:
    archive(tmp_path / "one" / "cats.zip", {"1.png": b""})
    with pytest.raises(DataError, match=r"holds zip archives but no images; give an archive by itself"):
        with_archives(read_tree(tmp_path / "one"))
    archive(tmp_path / "two" / "train.zip", {"a/1.png": b""})
    with pytest.raises(DataError, match=r"has no archive test\*\.zip"):
        with_archives(read_tree(tmp_path / "two"))
    archive(tmp_path / "two" / "test.zip", {"a/1.png": b""})
    lay(tmp_path / "two", "a/1.png")
    with pytest.raises(DataError, match=r"holds images, such as a/1\.png, beside archives"):
        with_archives(read_tree(tmp_path / "two"))
    archive(lay(tmp_path / "three", "a/1.png") / "old.zip", {"a/1.png": b""})
    tree, splits = with_archives(read_tree(tmp_path / "three"))
    assert (list(tree.images), splits) == (["a/1.png"], {})
    assert [one.place for one in tree.skipped] == ["old.zip"]
