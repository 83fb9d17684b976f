"""The published data sets, on miniature copies of what their archives hold; nothing is downloaded.

tests/rehearsal/test_archives.py has the archives themselves, and a server with faults.

They are those of `data.published.caltech256`, `data.published.cifar`, `data.published.eurosat`,
`data.published.oxford_pet` and `data.published.sun397`.
"""

import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix.data import archives
from dpmix.data.archives import fetch, source_of
from dpmix.data.class_names import readable
from dpmix.data.images import load
from dpmix.data.sources import prepare
from dpmix.errors import DataError, ParamsError
from dpmix.params.registries import DATA_SETS
from dpmix.params.specs import DatasetSpec

SOURCES = {name: source_of(name) for name in DATA_SETS}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def photo(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 8), (shade, shade, shade)).save(path)


def spec_of(name: str, classes: int, train: int, test: int) -> DatasetSpec:
    return DatasetSpec(name=name, label=name, source="torchvision", classes=classes, train=train, test=test)


def eurosat(raw: Path) -> None:
    for shade, name in enumerate(["SeaLake", "AnnualCrop"]):
        for index in range(1, 6):
            photo(raw / "eurosat" / "2750" / name / f"{name}_{index}.jpg", 100 * shade + 10 * index)


def caltech256(raw: Path) -> None:
    root = raw / "caltech256" / "256_ObjectCategories"
    for number, name in enumerate(["001.ak47", "198.spider", "253.faces-easy-101"]):
        for index in range(1, 6):
            photo(root / name / f"{name[:3]}_{index:04d}.jpg", 80 * number)
    (root / "198.spider" / "RENAME2").write_text("a script")
    photo(root / "001.ak47" / "nested" / "001_0001.jpg", 0)


def sun397(raw: Path) -> None:
    lines = ["/a/abbey", "/a/apartment_building/outdoor"]
    for number, line in enumerate(lines):
        for index in range(5):
            photo(raw / "SUN397" / line[1:] / f"sun_{index}abc.jpg", 80 * number)
    (raw / "SUN397" / "ClassName.txt").write_text("\n".join(lines) + "\n")


def oxford_pet(raw: Path) -> None:
    root = raw / "oxford-iiit-pet"
    (root / "annotations").mkdir(parents=True)
    for file, first, last in (("trainval.txt", 1, 5), ("test.txt", 5, 6)):
        rows = []
        for label, name in ((1, "Abyssinian"), (2, "american_bulldog")):
            for index in range(first, last):
                photo(root / "images" / f"{name}_{index}.jpg", 80 * label)
                rows.append(f"{name}_{index} {label} 1 {label}\n")
        (root / "annotations" / file).write_text("".join(rows))


@pytest.mark.parametrize(
    ("make", "name", "classes", "sizes", "shades"),
    [
        (eurosat, "eurosat", ("annual crop", "sea lake"), (8, 2), (130, 30)),
        (caltech256, "caltech256", ("ak47", "spider", "faces easy"), (12, 3), (0, 80, 160)),
        (sun397, "sun397", ("abbey", "apartment building outdoor"), (8, 2), (0, 80)),
        (oxford_pet, "oxford-pet", ("abyssinian", "american bulldog"), (8, 2), (80, 160)),
    ],
)
def test_unpacked_archives_become_stores(make, name, classes, sizes, shades, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path)
    prepare(spec_of(name, len(classes), *sizes), 8, tmp_path, tmp_path / "out")
    for split, size in zip(("train", "test"), sizes, strict=True):
        images = load(tmp_path / "out", split)
        assert images.classes == classes
        assert images.images.shape == (size, 3, 8, 8)
        # Stratified: every class has its share.
        assert len(set(np.bincount(images.labels))) == 1
    train = load(tmp_path / "out")
    for label, shade in enumerate(shades):
        # Every image lies nearest to its own class's shade: labels and images belong together.
        assert np.abs(train.images[train.labels == label].mean(axis=(1, 2, 3)) - shade).max() < 25
    with pytest.raises(DataError, match=r"its sizes are given as .* delete .* and run again, to unpack it anew"):
        prepare(spec_of(name, len(classes), sizes[0] + 1, sizes[1]), 8, tmp_path, tmp_path / "out")


@pytest.mark.parametrize("name", SOURCES)
def test_without_network_a_line_says_what_to_put_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^{name} cannot be downloaded \(.*no network in tests") as caught:
        fetch(name, tmp_path)
    line = str(caught.value)
    assert "\n" not in line
    # Of the first archive: the others are asked for once this one is there.
    assert str(tmp_path / SOURCES[name].archives[0].path) in line
    assert str(tmp_path / SOURCES[name].folders[0]) in line
    assert SOURCES[name].page in line


@pytest.mark.parametrize("name", SOURCES)
def test_a_truncated_archive_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / SOURCES[name].archives[0].path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half an archive")
    with pytest.raises(DataError, match=r"is damaged .* delete it and fetch") as caught:
        fetch(name, tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ending", "kind", "words"),
    [
        (OSError(28, "No space left on device"), DataError, r"no space left on the disk of .*; free 0\.2 GB"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_what_ends_while_unpacking_leaves_no_half_folder(
    ending: BaseException, kind: type[BaseException], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpack(file: Path, folder: Path, **_: object) -> None:
        (folder / "2750" / "SeaLake").mkdir(parents=True)
        raise ending

    monkeypatch.setattr(archives, "download", lambda *_: None)
    monkeypatch.setattr(archives.shutil, "unpack_archive", unpack)
    monkeypatch.setattr(archives.tarfile, "is_tarfile", lambda file: False)
    (tmp_path / "eurosat").mkdir()
    with pytest.raises(kind, match=words) as caught:
        fetch("eurosat", tmp_path)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "eurosat").iterdir())


@pytest.mark.parametrize("name", SOURCES)
def test_a_dead_mirror_is_tried_four_times(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def dead(request: object, *_: object, **__: object) -> None:
        asked.append(request)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(urllib.request, "urlopen", dead)
    with pytest.raises(DataError, match=rf"^{name} cannot be downloaded \(.*Connection refused\); fetch .* put it at"):
        fetch(name, tmp_path)
    assert len(asked) == 4


def test_a_half_unpacked_folder_is_named_and_kept(tmp_path: Path) -> None:
    sun397(tmp_path)
    (tmp_path / "SUN397" / "ClassName.txt").unlink()
    with pytest.raises(DataError, match=r"SUN397/ClassName\.txt cannot be read .*; delete .*SUN397 and run again"):
        fetch("sun397", tmp_path)
    assert (tmp_path / "SUN397" / "a" / "abbey").is_dir()
    oxford_pet(tmp_path)
    (tmp_path / "oxford-iiit-pet" / "annotations" / "test.txt").write_text("Abyssinian_1 one\n")
    with pytest.raises(DataError, match=r"annotations/test\.txt is damaged"):
        fetch("oxford-pet", tmp_path)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    oxford_pet(tmp_path)
    (tmp_path / "oxford-iiit-pet" / "images" / "Abyssinian_2.jpg").unlink()
    with pytest.raises(DataError, match=r"Abyssinian_2\.jpg cannot be read as an image"):
        prepare(spec_of("oxford-pet", 2, 8, 2), 8, tmp_path, tmp_path / "out")


@pytest.mark.parametrize("name", SOURCES)
def test_addresses_and_checksums_are_torchvisions(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    asked: list[tuple[str, str, str]] = []

    def record(
        url: str, root: object = None, filename: str | None = None, md5: str | None = None, download_root: object = None
    ) -> None:
        path = Path(str(download_root or root)) / (filename or Path(url).name)
        asked.append((path.relative_to(tmp_path).as_posix(), url, str(md5)))

    for module in ("cifar", "eurosat", "caltech", "sun397", "oxford_iiit_pet"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", record)
    classes = {
        "cifar-10": datasets.CIFAR10, "cifar-100": datasets.CIFAR100, "eurosat": datasets.EuroSAT,
        "caltech256": datasets.Caltech256, "sun397": datasets.SUN397, "oxford-pet": datasets.OxfordIIITPet,
    }  # fmt: skip
    with pytest.raises((RuntimeError, FileNotFoundError)):
        classes[name](tmp_path, download=True)
    assert asked == [archive[:3] for archive in SOURCES[name].archives]


def test_an_unwritable_folder_and_an_unknown_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="choose another folder for downloads"):
        fetch("eurosat", tmp_path / "file")
    with pytest.raises(ParamsError, match=r"unknown torchvision data set 'eurosta'; did you mean 'eurosat'\?"):
        fetch("eurosta", tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("001.ak47", "ak47"),
        ("253.faces-easy-101", "faces easy"),
        ("AnnualCrop", "annual crop"),
        ("apartment_building/outdoor", "apartment building outdoor"),
        ("American Bulldog", "american bulldog"),
        ("aquarium_fish", "aquarium fish"),
    ],
)
def test_readable_names(name: str, words: str) -> None:
    assert readable(name) == words
