"""Image stores are written whole or not at all, and work that stopped is gone on with."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

from dpmix import execution
from dpmix.data import decoding, folders
from dpmix.data import store as data_store
from dpmix.data.decoding import Part, Pool
from dpmix.data.images import load
from dpmix.data.sources import prepare
from dpmix.data.store import pack_images, write_store
from dpmix.errors import DataError, DpmixError
from dpmix.params.specs import DatasetSpec
from tests.data.conftest import assert_unfinished, folder_of, picture, save, spec_of
from tests.needs import FLOCK, module


def test_a_full_disk_is_one_line_and_leaves_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    root = folder_of(tmp_path / "in", {"a": 5})
    out = tmp_path / "made" / "out"
    with pytest.raises(DpmixError, match=r"made/out: No space left on device; free space .* run the same") as caught:
        prepare(spec_of(root, 1, 4, 1), 12, tmp_path, out)
    assert "\n" not in str(caught.value)
    assert_unfinished(out)
    monkeypatch.undo()
    prepare(spec_of(root, 1, 4, 1), 12, tmp_path, out)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert sorted(path.name for path in out.iterdir()) == [
        "meta.json", "source.json", "test_images.npy", "test_labels.npy", "train_images.npy", "train_labels.npy",
    ]  # fmt: skip


def test_a_disk_that_is_really_full_can_be_freed_and_the_work_gone_on_with(
    tmp_path: Path, small_disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_store, "_SAVED_AT_A_TIME", 4)
    root = folder_of(tmp_path / "in", {"a": 30}, size=(32, 32))
    spec, out = spec_of(root, 1, 24, 6), small_disk("48k") / "out"
    with pytest.raises(DpmixError, match=r"cannot write .*: No space left on device; free space") as caught:
        prepare(spec, 32, tmp_path, out)
    assert "\n" not in str(caught.value)
    assert_unfinished(out)
    small_disk("1m")
    opened = count_opened(monkeypatch)
    prepare(spec, 32, tmp_path, out)
    assert len(opened) < 30
    prepare(spec, 32, tmp_path, tmp_path / "at-once")
    for split in ("train", "test"):
        assert np.array_equal(load(out, split).images, load(tmp_path / "at-once", split).images)


# Going on
def count_opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The image files that are decoded from here on."""
    opened: list[Path] = []
    read = decoding.open_image

    def counted(path: Path, file: IO[bytes] | None = None) -> Image.Image:
        opened.append(path)
        return read(path, file)

    monkeypatch.setattr(folders, "open_image", counted)
    return opened


@pytest.fixture
def halfway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[DatasetSpec, Path, list[Path]]:
    """A store of 40 training images whose decoding stopped at the 25th, which was damaged and is mended."""
    monkeypatch.setattr(data_store, "_SAVED_AT_A_TIME", 10)
    monkeypatch.setattr(execution, "_AHEAD", 1)
    root = folder_of(tmp_path / "in" / "train", {"a": 40})
    folder_of(tmp_path / "in" / "test", {"a": 3})
    victim = root / "a" / "024.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:100])
    spec, out = spec_of(tmp_path / "in", 1, 40, 3), tmp_path / "out"
    with pytest.raises(DataError, match=r"024\.png cannot be read as an image"):
        prepare(spec, 12, tmp_path, out)
    assert not out.exists()
    victim.write_bytes(whole)
    return spec, out, count_opened(monkeypatch)


def test_decoding_goes_on_where_it_stopped(
    halfway: tuple[DatasetSpec, Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, out, opened = halfway
    prepare(spec, 12, tmp_path, out)
    assert sorted(path.name for path in opened if path.parts[-3] == "train") == [f"{i:03d}.png" for i in range(24, 40)]
    opened.clear()
    prepare(spec, 12, tmp_path, tmp_path / "at-once")
    assert len(opened) == 43
    for split in ("train", "test"):
        assert np.array_equal(load(out, split).images, load(tmp_path / "at-once", split).images)
    assert (out / "meta.json").read_bytes() == (tmp_path / "at-once" / "meta.json").read_bytes()


def test_an_image_that_was_replaced_meanwhile_is_decoded_again(
    halfway: tuple[DatasetSpec, Path, list[Path]], tmp_path: Path
) -> None:
    spec, out, opened = halfway
    save(picture(777), Path(str(spec.path)) / "train" / "a" / "003.png")
    prepare(spec, 12, tmp_path, out)
    assert len([path for path in opened if path.parts[-3] == "train"]) == 40
    expected = np.asarray(picture(777)).transpose(2, 0, 1)
    assert np.array_equal(load(out).images[3], expected)


def test_another_resolution_begins_anew(halfway: tuple[DatasetSpec, Path, list[Path]], tmp_path: Path) -> None:
    spec, out, opened = halfway
    prepare(spec, 8, tmp_path, out)
    assert len(opened) == 43
    assert load(out).images.shape == (40, 3, 8, 8)


@pytest.mark.parametrize("damage", ["", "{", '{"images": 99, "files": "x"}', '{"images": "many"}'])
def test_a_damaged_record_of_progress_begins_anew(
    damage: str, halfway: tuple[DatasetSpec, Path, list[Path]], tmp_path: Path
) -> None:
    spec, out, opened = halfway
    (tmp_path / ".out.partial" / "train_images.progress").write_text(damage)
    prepare(spec, 12, tmp_path, out)
    assert len(opened) == 43


def test_pixels_that_never_reached_the_disk_are_decoded_again(
    halfway: tuple[DatasetSpec, Path, list[Path]], tmp_path: Path
) -> None:
    spec, out, opened = halfway
    path = tmp_path / ".out.partial" / "train_images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    prepare(spec, 12, tmp_path, out)
    assert len(opened) == 43


def test_one_process_at_a_time_makes_a_store(tmp_path: Path) -> None:
    fcntl = module("fcntl", FLOCK)
    root = folder_of(tmp_path / "in", {"a": 5})
    (tmp_path / ".out.partial").mkdir()
    with (tmp_path / ".out.partial" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"another process is making .*/out; wait for it, or stop it"):
            prepare(spec_of(root, 1, 4, 1), 12, tmp_path, tmp_path / "out")
    prepare(spec_of(root, 1, 4, 1), 12, tmp_path, tmp_path / "out")
    assert len(load(tmp_path / "out")) == 4


def test_a_store_is_replaced_whole(tmp_path: Path) -> None:
    prepare(spec_of(folder_of(tmp_path / "one", {"a": 5}), 1, 4, 1), 12, tmp_path, tmp_path / "out")
    prepare(spec_of(folder_of(tmp_path / "two", {"x": 4, "y": 4}), 2, 6, 2), 8, tmp_path, tmp_path / "out")
    assert load(tmp_path / "out").images.shape == (6, 3, 8, 8)
    assert load(tmp_path / "out").classes == ("x", "y")


# Synthetic sets
@pytest.mark.parametrize("channels", [1, 3])
def test_a_synthetic_set_is_stored_class_by_class(channels: int, tmp_path: Path) -> None:
    paths = [save(picture(seed, size=(10, 10)), tmp_path / "in" / f"{seed}.png") for seed in (3, 1, 2, 0)]
    pack_images(paths, np.array([1, 0, 1, 0]), ["forest", "sea lake"], 10, tmp_path / "out", channels)
    images = load(tmp_path / "out")
    assert images.classes == ("forest", "sea lake")
    assert images.labels.tolist() == [0, 0, 1, 1]
    expected = [decoding.fit(picture(seed, size=(10, 10)), 10, channels) for seed in (1, 0, 3, 2)]
    assert np.array_equal(images.images, np.stack(expected))
    with pytest.raises(DataError, match="has no split 'test'"):
        load(tmp_path / "out", "test")


def test_whose_images_they_are_is_kept_beside_the_labels(tmp_path: Path) -> None:
    persons = np.array([2, 0, 2, 1, 0])
    part = Part(np.array([0, 0, 1, 1, 1]), picture, persons=persons)
    out = tmp_path / "out"
    write_store(out, Pool(("a", "b"), {"train": part, "test": part.only(np.array([3, 0]))}, "", "", {}), 12, 3, "mine")
    assert load(out).persons.tolist() == persons.tolist()  # type: ignore[union-attr]
    assert load(out, "test").persons.tolist() == [1, 2]  # type: ignore[union-attr]
    pack_images([save(picture(0), tmp_path / "0.png")], np.array([0]), ["a"], 12, tmp_path / "d")
    assert load(tmp_path / "d").persons is None
