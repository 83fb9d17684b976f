"""The published data sets, on miniature copies of what their archives hold; nothing is downloaded.

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


def test_cifar_keeps_its_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import cifar

    class Small:
        classes = ("airplane", "aquarium_fish")

        def __init__(self, root: Path, train: bool, download: bool) -> None:
            assert download
            size = 6 if train else 4
            self.data = np.arange(size, dtype=np.uint8)[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3)
            self.targets = [index % 2 for index in range(size)]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Small)
    assert cifar.CIFAR10 is not Small
    prepare(spec_of("cifar-10", 2, 6, 4), 32, tmp_path, tmp_path / "out")
    train = load(tmp_path / "out")
    assert train.classes == ("airplane", "aquarium fish")
    assert train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert len(load(tmp_path / "out", "test")) == 4


@pytest.mark.parametrize("name", SOURCES)
def test_without_network_a_line_says_what_to_put_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^{name} cannot be downloaded \(.*no network in tests") as caught:
        fetch(name, tmp_path)
    line = str(caught.value)
    assert "\n" not in line
    for archive in SOURCES[name].archives:
        assert str(tmp_path / archive.path) in line
    for folder in SOURCES[name].folders:
        assert str(tmp_path / folder) in line
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


def test_an_archive_that_stops_unpacking_leaves_no_half_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(*_: object, **__: object) -> None:
        eurosat(tmp_path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torchvision.datasets.eurosat.download_and_extract_archive", unpack)
    with pytest.raises(DataError, match=r"no space left on the disk of .*; free 0\.2 GB") as caught:
        fetch("eurosat", tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "eurosat" / "2750").exists()


def test_a_mirror_that_recovers_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attempts = []

    def unpack(*_: object, **__: object) -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise urllib.error.HTTPError("http://mirror", 503, "busy", None, None)  # type: ignore[arg-type]
        eurosat(tmp_path)

    monkeypatch.setattr("torchvision.datasets.eurosat.download_and_extract_archive", unpack)
    assert fetch("eurosat", tmp_path).classes == ("annual crop", "sea lake")
    assert len(attempts) == 3
    told = capsys.readouterr().err.splitlines()
    assert [line.startswith("eurosat: HTTP Error 503: busy; trying again in") for line in told] == [True, True]


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


def test_an_interrupted_unpacking_leaves_no_half_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(*_: object, **__: object) -> None:
        eurosat(tmp_path)
        raise KeyboardInterrupt

    monkeypatch.setattr("torchvision.datasets.eurosat.download_and_extract_archive", unpack)
    with pytest.raises(KeyboardInterrupt):
        fetch("eurosat", tmp_path)
    assert not (tmp_path / "eurosat" / "2750").exists()


def test_a_half_unpacked_folder_is_named_and_kept(tmp_path: Path) -> None:
    sun397(tmp_path)
    (tmp_path / "SUN397" / "ClassName.txt").unlink()
    with pytest.raises(DataError, match=r"SUN397 is incomplete or damaged .*; delete it and run again"):
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


def test_archives_and_checksums_are_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def record(url: str, download_root: object, filename: str | None = None, md5: str | None = None) -> None:
        path = Path(str(download_root)) / (filename or Path(url).name)
        asked.append((path.relative_to(tmp_path).as_posix(), str(md5)))

    for module in ("cifar", "eurosat", "caltech", "sun397", "oxford_iiit_pet"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", record)
    for name, source in SOURCES.items():
        asked.clear()
        with pytest.raises(DataError):
            fetch(name, tmp_path)
        assert asked == [archive[:2] for archive in source.archives], name


def test_an_unwritable_folder_and_an_unknown_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="choose another folder for downloads"):
        fetch("eurosat", tmp_path / "file")
    with pytest.raises(ParamsError, match=r"unknown torchvision data set 'eurosta'; did you mean 'eurosat'\?"):
        fetch("eurosta", tmp_path)


def test_the_timeout_of_other_connections_stays(tmp_path: Path) -> None:
    import socket

    before = socket.getdefaulttimeout()
    with pytest.raises(DataError):
        fetch("eurosat", tmp_path)
    assert socket.getdefaulttimeout() == before
    assert archives.TIMEOUT_S > 0


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
