"""Image stores: what is written, what is refused, and that a line says why."""

import errno
import json
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from dpmix import datasets
from dpmix.datasets import load, pack_images, prepare, split_digest, stratified_split
from dpmix.errors import DataError, DpmixError
from dpmix.params import DatasetSpec
from tests.needs import ADMINISTRATOR, FLOCK, lacks, module


def picture(seed: int, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> Image.Image:
    generator = np.random.default_rng(seed)
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], bands) if bands > 1 else (size[1], size[0])
    return Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).convert(mode)


def save(image: Image.Image, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def folder_of(root: Path, counts: dict[str, int], size: tuple[int, int] = (12, 12)) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        for index in range(count):
            save(picture(1000 * number + index, size), root / name / f"{index:03d}.png")
    return root


def spec_of(path: Path, classes: int, train: int, test: int, channels: int = 3) -> DatasetSpec:
    return DatasetSpec(
        name="mine",
        label="Mine",
        source="folder",
        classes=classes,
        train=train,
        test=test,
        channels=channels,  # type: ignore[arg-type]
        path=str(path),
    )


def digits_of(train: int, test: int = 360) -> DatasetSpec:
    return DatasetSpec(
        name="digits", label="Digits", source="scikit-learn", classes=10, train=train, test=test, channels=1
    )


# Digits


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digits") / "store"
    prepare(digits_of(1437), 8, out.parent / "raw", out)
    return out


def test_digits_are_all_there_once(digits: Path) -> None:
    from sklearn.datasets import load_digits

    train, test = load(digits), load(digits, "test")
    assert (len(train), len(test)) == (1437, 360)
    assert train.classes == tuple("0123456789")
    assert train.num_classes == 10
    assert train.images.shape == (1437, 1, 8, 8)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int64
    images = np.concatenate([train.images, test.images]).reshape(-1, 64)
    labels = np.concatenate([train.labels, test.labels])
    original = load_digits()
    expected = np.rint(original.data * 255 / 16).astype(np.uint8)
    key = np.lexsort(np.column_stack([images, labels]).T)
    other = np.lexsort(np.column_stack([expected, original.target]).T)
    assert np.array_equal(images[key], expected[other])
    assert np.array_equal(labels[key], original.target[other])


def test_digits_split_is_stratified_and_never_changes(digits: Path) -> None:
    test = load(digits, "test")
    counts = np.bincount(test.labels)
    whole = np.bincount(load(digits).labels) + counts
    assert np.abs(counts - whole * 360 / 1797).max() < 1
    # The split is part of every published number: a change here is a change of the data set.
    assert json.loads((digits / "meta.json").read_text())["split_seed"] == 2023
    assert int((test.labels * np.arange(360)).sum()) == 298082


def test_fewer_digits_are_a_balanced_part_of_the_same_training_set(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "few"
    prepare(digits_of(300), 8, tmp_path, out)
    few, many = load(out), load(digits)
    assert len(few) == 300
    assert np.bincount(few.labels).min() >= 29
    everything = {image.tobytes() for image in many.images}
    assert all(image.tobytes() in everything for image in few.images)
    assert np.array_equal(load(out, "test").images, load(digits, "test").images)


def test_digits_are_enlarged_by_bicubic_interpolation(digits: Path, tmp_path: Path) -> None:
    prepare(digits_of(1437), 16, tmp_path, tmp_path / "large")
    large, small = load(tmp_path / "large"), load(digits)
    for index in (0, 700, 1436):
        expected = Image.fromarray(small.images[index, 0]).resize((16, 16), Image.Resampling.BICUBIC)
        assert np.array_equal(large.images[index, 0], np.asarray(expected))


@pytest.mark.parametrize(("train", "test"), [(1438, 360), (1437, 100)])
def test_digits_of_other_sizes_are_refused(train: int, test: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give train at most 1437, test 360"):
        prepare(digits_of(train, test), 8, tmp_path, tmp_path / "store")
    assert not (tmp_path / "store").exists()


# Splits


@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=80), share=st.floats(0, 1))
def test_split_is_stratified_exact_and_a_partition(labels: list[int], share: float) -> None:
    array = np.asarray(labels, dtype=np.int64)
    test = int(share * len(array))
    train, held = stratified_split(array, test, "x")
    assert len(held) == test
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(len(array)))
    assert np.array_equal(train, np.sort(train))
    assert np.array_equal(held, np.sort(held))
    given_up = np.bincount(array[held], minlength=6)
    assert np.abs(given_up - np.bincount(array, minlength=6) * test / len(array)).max() < 1


def test_split_depends_on_its_name_and_on_nothing_else() -> None:
    labels = np.repeat(np.arange(4), 50)
    np.random.seed(0)  # noqa: NPY002  # the global state must not matter
    first = stratified_split(labels, 40, "eurosat")
    np.random.seed(1)  # noqa: NPY002
    again = stratified_split(labels, 40, "eurosat")
    other = stratified_split(labels, 40, "sun397")
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])
    assert first[1].tolist()[:5] == [4, 9, 17, 22, 24]


@pytest.mark.parametrize(
    ("size", "train", "test"), [(30607, 24485, 6122), (108754, 87003, 21751), (27000, 21600, 5400)]
)
def test_the_papers_sizes_are_the_last_fifth_rounded_up(size: int, train: int, test: int) -> None:
    labels = np.random.default_rng(0).integers(0, 10, size)
    kept, held = stratified_split(labels, test, "x")
    assert (len(kept), len(held)) == (train, test)
    assert test == -(-size // 5)


# What decides each split: the images that go to the test part if all were of one class. Labels only sort these draws.
DRAWS = {
    ("eurosat", 27000, 5400): "51f4e5c6fa57620c07c84feab12c6f561319898c8afe04fe35377e9a19a63f4e",
    ("caltech256", 30607, 6122): "217816f7926331936a8b85fc2184150937f7c77ee782f003b4205118808ddf7e",
    ("sun397", 108754, 21751): "3104ede12a53da6ee52d106ebdb7d1c5670ab92762aeeb9b4263958491c84503",
}
# EuroSAT's split itself, from the sizes of its classes in alphabetical order.
EUROSAT = "231279592963c9a0485b3bc4022deee294619179650ecd0678157487607b6d44"
EUROSAT_CLASSES = (3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000)


@pytest.mark.parametrize(("name", "images", "test"), DRAWS)
def test_the_draws_behind_a_split_never_change(name: str, images: int, test: int) -> None:
    _, held = stratified_split(np.zeros(images, dtype=np.int64), test, name)
    assert split_digest(held) == DRAWS[name, images, test]


def test_eurosats_split_never_changes() -> None:
    labels = np.repeat(np.arange(10), EUROSAT_CLASSES)
    _, held = stratified_split(labels, 5400, "eurosat")
    assert split_digest(held) == EUROSAT
    assert np.bincount(labels[held]).tolist() == [size // 5 for size in EUROSAT_CLASSES]


def test_a_store_says_which_split_it_holds(digits: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meta = json.loads((digits / "meta.json").read_text())
    assert meta["split_sha256"] == datasets.SPLIT_DIGESTS["digits", 1797]
    monkeypatch.setitem(datasets.SPLIT_DIGESTS, ("digits", 1797), "another")
    with pytest.raises(DataError, match=r"^digits: the split drawn is not the one that results rest on") as caught:
        prepare(digits_of(1437), 8, tmp_path, tmp_path / "store")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_split_of_more_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot take 4"):
        stratified_split(np.zeros(3, dtype=np.int64), 4, "x")


# Folders


def test_folder_with_a_split(tmp_path: Path) -> None:
    folder_of(tmp_path / "in" / "train", {"cat": 3, "ant": 2})
    folder_of(tmp_path / "in" / "test", {"cat": 1, "ant": 1})
    prepare(spec_of(tmp_path / "in", 2, 5, 2), 12, tmp_path / "raw", tmp_path / "out")
    train = load(tmp_path / "out")
    assert train.classes == ("ant", "cat")
    assert train.labels.tolist() == [0, 0, 1, 1, 1]
    assert load(tmp_path / "out", "test").labels.tolist() == [0, 1]
    first = np.asarray(Image.open(tmp_path / "in" / "train" / "ant" / "000.png"))
    assert np.array_equal(train.images[0], first.transpose(2, 0, 1))
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["sizes"] == {"train": 5, "test": 2}
    assert (meta["resolution"], meta["channels"], meta["split"]) == (12, 3, "given")


def test_folder_without_a_split_gets_one(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", {"a": 10, "b": 5})
    prepare(spec_of(tmp_path / "in", 2, 12, 3), 12, tmp_path, tmp_path / "out")
    train, test = load(tmp_path / "out"), load(tmp_path / "out", "test")
    assert np.bincount(test.labels).tolist() == [2, 1]
    together = {image.tobytes() for image in np.concatenate([train.images, test.images])}
    assert len(together) == 15


def test_images_may_lie_deeper_and_litter_is_skipped(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "in", {"a/patient1": 2, "a/patient2": 2, "b": 2})
    (root / "a" / ".DS_Store").write_text("x")
    (root / "b" / "Thumbs.db").write_text("x")
    (root / ".cache").mkdir()
    (root / "labels.csv").write_text("beside the class folders")
    prepare(spec_of(root, 2, 4, 2), 12, tmp_path, tmp_path / "out")
    assert load(tmp_path / "out").classes == ("a", "b")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1"])
def test_every_mode_of_pixels_becomes_the_channels_asked_for(mode: str, channels: int, tmp_path: Path) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    image = picture(0, mode=mode)
    for index in range(2):
        save(image, tmp_path / "in" / "a" / f"{index}.{suffix}")
    prepare(spec_of(tmp_path / "in", 1, 1, 1, channels), 12, tmp_path, tmp_path / "out")
    expected = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(12, 12, channels)
    assert np.array_equal(load(tmp_path / "out").images[0], expected.transpose(2, 0, 1))


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    ramp = np.arange(144, dtype=np.uint16).reshape(12, 12) * 450
    for index in range(2):
        save(Image.fromarray(ramp), tmp_path / "in" / "a" / f"{index}.png")
    prepare(spec_of(tmp_path / "in", 1, 1, 1, 1), 12, tmp_path, tmp_path / "out")
    assert np.array_equal(load(tmp_path / "out").images[0, 0], (ramp >> 8).astype(np.uint8))


def test_a_camera_held_upright_is_obeyed(tmp_path: Path) -> None:
    image = picture(3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    for index in range(2):
        save(image, tmp_path / "in" / "a" / f"{index}.png", exif=exif)
    prepare(spec_of(tmp_path / "in", 1, 1, 1), 12, tmp_path, tmp_path / "out")
    turned = np.asarray(image.transpose(Image.Transpose.ROTATE_270)).transpose(2, 0, 1)
    assert np.array_equal(load(tmp_path / "out").images[0], turned)


@given(
    width=st.integers(1, 60), height=st.integers(1, 60), resolution=st.integers(1, 40), channels=st.sampled_from([1, 3])
)
def test_resize_and_crop_are_torchvisions(width: int, height: int, resolution: int, channels: int) -> None:
    image = picture(width * 61 + height, (width, height))
    expected = image.convert("L" if channels == 1 else "RGB")
    if (width, height) != (resolution, resolution):
        expected = reference.resize(expected, [resolution], interpolation=InterpolationMode.BICUBIC)
        expected = reference.center_crop(expected, [resolution, resolution])
    actual = datasets._fit(image, resolution, channels)
    assert np.array_equal(actual, np.asarray(expected).reshape(resolution, resolution, channels).transpose(2, 0, 1))


def test_real_images_survive_untouched(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "cifar10" / "test.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".webp"))[::400]
        archive.extractall(tmp_path / "zip", names)
    root = tmp_path / "zip" / "test"
    prepare(spec_of(root, 10, 15, 10), 32, tmp_path, tmp_path / "out")
    images = load(tmp_path / "out")
    files = sorted(root.rglob("*.webp"))
    assert (len(images.classes), len(files)) == (10, 25)
    kept, _ = stratified_split(np.asarray([images.classes.index(file.parent.name) for file in files]), 10, "folder")
    for index in (0, 7, 14):
        expected = np.asarray(Image.open(files[kept[index]]).convert("RGB"))
        assert np.array_equal(images.images[index], expected.transpose(2, 0, 1))


# What is refused


def assert_unfinished(out: Path) -> None:
    """There is no store, and what grew beside it is none either."""
    assert [path.name for path in out.parent.iterdir()] == [f".{out.name}.partial"]
    for folder in (out, out.parent / f".{out.name}.partial"):
        with pytest.raises(DataError, match="is not an image store"):
            load(folder)


def test_a_damaged_image_is_named_and_no_store_is_left(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "in", {"a": 6}, size=(60, 60))
    victim = root / "a" / "003.png"
    victim.write_bytes(victim.read_bytes()[:2000])
    out = tmp_path / "made" / "out"
    with pytest.raises(DataError, match=r"a/003\.png cannot be read as an image .*; replace or remove it") as caught:
        prepare(spec_of(root, 1, 4, 2), 12, tmp_path / "raw", out)
    assert "\n" not in str(caught.value)
    assert_unfinished(out)
    victim.write_text("not an image at all")
    with pytest.raises(DataError, match=r"a/003\.png cannot be read as an image"):
        prepare(spec_of(root, 1, 4, 2), 12, tmp_path / "raw", tmp_path / "made" / "out")


def test_thirty_two_bit_pixels_are_refused(tmp_path: Path) -> None:
    for index in range(2):
        save(Image.fromarray(np.zeros((4, 4), dtype=np.float32)), tmp_path / "in" / "a" / f"{index}.tif")
    with pytest.raises(DataError, match=r"\.tif cannot be read as an image \(its pixels have 32 bits"):
        prepare(spec_of(tmp_path / "in", 1, 1, 1), 4, tmp_path, tmp_path / "out")


def test_folders_that_make_no_sense_are_named(tmp_path: Path) -> None:
    root = tmp_path / "in"

    def read() -> None:
        prepare(spec_of(root, 2, 1, 1), 12, tmp_path, tmp_path / "out")

    with pytest.raises(DataError, match="in does not exist"):
        read()
    root.mkdir()
    with pytest.raises(DataError, match="in has no class folders"):
        read()
    folder_of(root, {"a": 2})
    (root / "b").mkdir()
    with pytest.raises(DataError, match="in/b holds no image"):
        read()
    (root / "b" / "IMG_1.heic").write_text("x")
    with pytest.raises(DataError, match=r"in/b/IMG_1\.heic is not an image that Pillow reads"):
        read()


def test_half_a_split_is_named(tmp_path: Path) -> None:
    def read(folder: Path, train: int = 3, test: int = 1) -> None:
        prepare(spec_of(folder, 2, train, test), 12, tmp_path, tmp_path / "out")

    folder_of(tmp_path / "in" / "train", {"a": 2, "b": 2})
    with pytest.raises(DataError, match="train but none called test"):
        read(tmp_path / "in")
    folder_of(tmp_path / "in" / "test", {"a": 2})
    with pytest.raises(DataError, match="in/test has no folder for class 'b'"):
        read(tmp_path / "in")
    folder_of(tmp_path / "in" / "test", {"b": 1, "c": 1})
    with pytest.raises(DataError, match="in/train has no folder for class 'c'"):
        read(tmp_path / "in")
    assert not (tmp_path / "out").exists()
    read(folder_of(tmp_path / "vehicles", {"car": 5, "train": 5}), 8, 2)
    assert load(tmp_path / "out").classes == ("car", "train")


@pytest.mark.parametrize(("classes", "train", "test"), [(3, 8, 2), (2, 7, 2), (2, 9, 2)])
def test_sizes_other_than_the_published_ones_are_refused(classes: int, train: int, test: int, tmp_path: Path) -> None:
    root = folder_of(tmp_path / "in", {"a": 5, "b": 5})
    with pytest.raises(DataError, match="holds 2 classes, 8 training and 2 test images, but its sizes are given as"):
        prepare(spec_of(root, classes, train, test), 12, tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="10 test images asked for, but there are 10 images"):
        prepare(spec_of(root, 2, 1, 10), 12, tmp_path, tmp_path / "out")


def test_a_full_disk_is_one_line_and_leaves_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(datasets.os, "fsync", full)
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
        "meta.json", "test_images.npy", "test_labels.npy", "train_images.npy", "train_labels.npy",
    ]  # fmt: skip


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`small_disk(size)` mounts a disk of that size, or gives the mounted one another size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = []

    def mount(size: str) -> Path:
        options = ["-o", f"remount,size={size}" if mounted else f"size={size}"]
        made = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], capture_output=True)
        if made.returncode:
            lacks(ADMINISTRATOR)
        mounted.append(size)
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_can_be_freed_and_the_work_gone_on_with(
    tmp_path: Path, small_disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "_SAVED_AT_A_TIME", 4)
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
    read = datasets._open

    def counted(path: Path) -> Image.Image:
        opened.append(path)
        return read(path)

    monkeypatch.setattr(datasets, "_open", counted)
    return opened


@pytest.fixture
def halfway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[DatasetSpec, Path, list[Path]]:
    """A store of 40 training images whose decoding stopped at the 25th, which was damaged and is mended."""
    monkeypatch.setattr(datasets, "_SAVED_AT_A_TIME", 10)
    monkeypatch.setattr(datasets, "_DECODED_AT_A_TIME", 1)
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


# Stores


def test_loading_maps_images_and_does_not_read_them(digits: Path) -> None:
    images = load(digits).images
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable


def test_a_store_is_replaced_whole(tmp_path: Path) -> None:
    prepare(spec_of(folder_of(tmp_path / "one", {"a": 5}), 1, 4, 1), 12, tmp_path, tmp_path / "out")
    prepare(spec_of(folder_of(tmp_path / "two", {"x": 4, "y": 4}), 2, 6, 2), 8, tmp_path, tmp_path / "out")
    assert load(tmp_path / "out").images.shape == (6, 3, 8, 8)
    assert load(tmp_path / "out").classes == ("x", "y")


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


# Synthetic sets


@pytest.mark.parametrize("channels", [1, 3])
def test_a_synthetic_set_is_stored_class_by_class(channels: int, tmp_path: Path) -> None:
    paths = [save(picture(seed, size=(10, 10)), tmp_path / "in" / f"{seed}.png") for seed in (3, 1, 2, 0)]
    pack_images(paths, np.array([1, 0, 1, 0]), ["forest", "sea lake"], 10, tmp_path / "out", channels)
    images = load(tmp_path / "out")
    assert images.classes == ("forest", "sea lake")
    assert images.labels.tolist() == [0, 0, 1, 1]
    expected = [datasets._fit(picture(seed, size=(10, 10)), 10, channels) for seed in (1, 0, 3, 2)]
    assert np.array_equal(images.images, np.stack(expected))
    with pytest.raises(DataError, match="has no split 'test'"):
        load(tmp_path / "out", "test")
