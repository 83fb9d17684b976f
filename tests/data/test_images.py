"""A store that is read is whole, or a line says what is wrong with it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpmix.data.images import Images, check_alike, load
from dpmix.data.sources import prepare
from dpmix.errors import DataError
from dpmix.files import read_json, write_json
from dpmix.seals import FILES, SEAL
from tests.data.conftest import folder_of, spec_of


# Stores
def test_loading_maps_images_and_does_not_read_them(digits: Path) -> None:
    images = load(digits).images
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable


def _truncate(store: Path) -> None:
    path = store / "train_images.npy"
    path.write_bytes(path.read_bytes()[:-5])


def _relabel(store: Path) -> None:
    np.save(store / "train_labels.npy", np.full(4, 7))


def _shorten(store: Path) -> None:
    np.save(store / "train_labels.npy", np.zeros(3, dtype=np.int64))


def _number_persons_from_minus_one(store: Path) -> None:
    np.save(store / "train_persons.npy", np.arange(4) - 1)


def _lose_a_person(store: Path) -> None:
    np.save(store / "train_persons.npy", np.arange(3))


def _retype(store: Path) -> None:
    np.save(store / "train_images.npy", np.zeros((4, 3, 12, 12), dtype=np.float32))


def _pickle(store: Path) -> None:
    np.save(store / "train_labels.npy", np.array([{}] * 4, dtype=object), allow_pickle=True)


def _break_meta(store: Path) -> None:
    (store / "meta.json").write_text("{")


def _empty_meta(store: Path) -> None:
    (store / "meta.json").write_text("[]")


def _lose_images(store: Path) -> None:
    (store / "train_images.npy").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _relabel,
        _shorten,
        _number_persons_from_minus_one,
        _lose_a_person,
        _retype,
        _pickle,
        _break_meta,
        _empty_meta,
        _lose_images,
    ],
)
@pytest.mark.parametrize("sealed", [True, False])
def test_a_damaged_store_says_to_make_it_again(damage, sealed: bool, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    prepare(spec_of(folder_of(tmp_path / "in", {"a": 5}), 1, 4, 1), 12, tmp_path, out)
    if not sealed:  # as earlier versions wrote them
        meta = read_json(out / "meta.json")
        write_json(out / "meta.json", {name: meta[name] for name in meta if name not in (SEAL, FILES)})
    load(out)
    damage(out)
    with pytest.raises(DataError, match=r"; delete (it|\S+) and run the same command again$") as caught:
        load(out)
    assert str(out) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_store_or_split_is_named(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not an image store \(it has no meta\.json\)"):
        load(tmp_path)
    with pytest.raises(DataError, match="has no split 'val', only test, train"):
        load(digits, "val")


# Sets in memory
PIXELS, LABELS = np.zeros((24, 1, 8, 8), dtype=np.uint8), np.arange(24) % 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": PIXELS.astype(np.float64)}, r"images are float64 \[24, 1, 8, 8\], not uint8"),
        ({"images": PIXELS[:, 0]}, r"images are uint8 \[24, 8, 8\], not uint8 \[N, channels, R, R\]"),
        ({"images": PIXELS.tolist()}, "images are list"),
        ({"labels": LABELS[:5]}, "there are 24 images and 5 labels; give one for each"),
        ({"labels": LABELS.astype(np.float32)}, r"labels are float32 \[24\], not whole numbers"),
        ({"labels": np.eye(3, dtype=np.int64)[LABELS]}, r"labels are int64 \[24, 3\], not whole numbers"),
        ({"labels": LABELS.tolist()}, "labels are list"),
        ({"labels": LABELS + 1}, "labels go from 1 to 3, but there are 3 classes"),
        ({"labels": LABELS - 1}, "labels go from -1 to 1, but there are 3 classes"),
        (
            {"persons": LABELS[:5]},
            r"persons are int64 \[5\], not whole numbers \[24\]; give a NumPy array with the number",
        ),
        ({"persons": LABELS.astype(np.float32)}, r"persons are float32 \[24\], not whole numbers"),
        ({"persons": LABELS.tolist()}, "persons are list"),
        ({"persons": LABELS - 1}, "persons go down to -1; number them from 0"),
        ({"classes": ("a", "b")}, "labels go from 0 to 2, but there are 2 classes"),
        ({"classes": ("a", "b", "a")}, "two classes are called 'a'; give each a name of its own"),
    ],
)
def test_arrays_that_are_no_labelled_images_are_named(changes: dict[str, Any], words: str) -> None:
    given = {"images": PIXELS, "labels": LABELS, "classes": ("a", "b", "c"), "persons": LABELS + 4}
    assert len(Images(**given)) == 24
    with pytest.raises(DataError, match=words) as caught:
        Images(**{**given, **changes})
    assert "\n" not in str(caught.value)


def test_an_empty_set_and_a_class_without_images_are_allowed() -> None:
    assert len(Images(PIXELS[:0], LABELS[:0], ())) == 0
    assert Images(PIXELS, LABELS.astype(np.uint8), tuple("abcd")).num_classes == 4


def test_public_images_of_other_classes_or_shapes_are_refused() -> None:
    private = Images(PIXELS, LABELS, ("dog", "cat", "ant"))
    check_alike(private, Images(PIXELS[:3], LABELS[:3], ("dog", "cat", "ant")))
    for classes in (("ant", "cat", "dog"), ("dog", "cat", "ant", "bee")):
        with pytest.raises(
            DataError, match="labels mean different classes; give them the same names in the same order"
        ):
            check_alike(private, Images(PIXELS, LABELS, classes))
    for pixels in (PIXELS.repeat(3, axis=1), PIXELS[..., :4, :4]):
        with pytest.raises(DataError, match=r"private ones \[1, 8, 8\] \(channels, height, width\); bring them to one"):
            check_alike(private, Images(pixels, LABELS, private.classes))


def test_a_flipped_label_and_zeroed_pixels_are_noticed(tmp_path: Path) -> None:
    """Both leave a store that is whole by its shape."""
    out = tmp_path / "out"
    prepare(spec_of(folder_of(tmp_path / "in", {"a": 6, "b": 6}), 2, 8, 4), 12, tmp_path, out)
    labels = np.load(out / "train_labels.npy")
    np.save(out / "train_labels.npy", 1 - labels)
    with pytest.raises(DataError, match=r"^\S+train_labels\.npy was damaged or changed after it was written"):
        load(out)
    load(out, "test")
    np.save(out / "train_labels.npy", labels)
    load(out)
    images = np.load(out / "train_images.npy", mmap_mode="r+")
    images[3] = 0
    images.flush()
    with pytest.raises(DataError, match=r"train_images\.npy was damaged .*; delete \S+out and run the same "):
        load(out)
