"""A store that is read is whole, or a line says what is wrong with it."""

from pathlib import Path

import numpy as np
import pytest

from dpmix.data.images import load
from dpmix.data.sources import prepare
from dpmix.errors import DataError
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
    "damage", [_truncate, _relabel, _shorten, _retype, _pickle, _break_meta, _empty_meta, _lose_images]
)
def test_a_damaged_store_says_to_make_it_again(damage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    prepare(spec_of(folder_of(tmp_path / "in", {"a": 5}), 1, 4, 1), 12, tmp_path, out)
    load(out)
    damage(out)
    with pytest.raises(DataError, match="delete it and make it again") as caught:
        load(out)
    assert str(out) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_store_or_split_is_named(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not an image store \(it has no meta\.json\)"):
        load(tmp_path)
    with pytest.raises(DataError, match="has no split 'val', only test, train"):
        load(digits, "val")
