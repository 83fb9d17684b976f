"""The paper's six published data sets: fetched and unpacked by torchvision, then listed.

torchvision compares every archive with its published checksum before it unpacks it, and the pickled files of CIFAR
before it opens them. Images are listed here rather than by torchvision's classes, whose order depends on the file
system for one data set and whose private attributes would be needed for another.
"""

import contextlib
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dpmix.data.class_names import readable
from dpmix.errors import DataError, ParamsError
from dpmix.network import full_disk, retried

# A mirror that accepts a connection and then stays silent would hang for ever.
TIMEOUT_S = 60.0


class Listing(NamedTuple):
    """The images of one split: files, or pixels uint8 [N, H, W, 3]; labels int64 [N] index the classes."""

    labels: npt.NDArray[np.int64]
    images: Sequence[Path] | npt.NDArray[np.uint8]


class Published(NamedTuple):
    """A published data set on disk.

    Attributes:
        classes: readable names, in the order of the labels.
        listings: `train` and `test` where the data set has a split of its own; else all images as `train`.
        folders: what was unpacked.
    """

    classes: tuple[str, ...]
    listings: Mapping[str, Listing]
    folders: tuple[Path, ...]


class Archive(NamedTuple):
    """A file to fetch, relative to the folder of downloads, its MD5 sum as torchvision knows it, and its size."""

    path: str
    md5: str
    megabytes: int


class _Source(NamedTuple):
    fetch: Callable[[Any, Path], Any]
    list: Callable[[Any, Path], tuple[Iterable[str], Mapping[str, Listing]]]
    archives: tuple[Archive, ...]
    folders: tuple[str, ...]
    page: str


def fetch(name: str, raw: Path) -> Published:
    """Fetch a published data set into `raw`, unless it is there, and list its images.

    Args:
        name: one of `SOURCES`.
        raw: the folder of downloads; archives and unpacked folders lie where torchvision puts them.

    Raises:
        ParamsError: for an unknown name.
        DataError: if it cannot be downloaded, in four attempts, or unpacked; the message says what to fetch by hand and
            where to put it.
    """
    if name not in SOURCES:
        raise ParamsError(f"unknown torchvision data set {name!r}; there are {', '.join(SOURCES)}")
    source, raw = SOURCES[name], Path(raw)
    with _locked(raw, name):
        fetched = _fetched(name, source, raw)
        names, listings = source.list(fetched, raw)
    return Published(tuple(map(readable, names)), listings, tuple(raw / folder for folder in source.folders))


def _fetched(name: str, source: _Source, raw: Path) -> Any:
    from torchvision import datasets

    folders = [raw / folder for folder in source.folders]
    absent = [folder for folder in folders if not folder.exists()]
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        return retried(lambda: source.fetch(datasets, raw), name)
    except BaseException as error:
        for folder in absent:
            # torchvision takes a folder that exists for a whole one.
            shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, Exception):
            raise
        raise DataError(_complaint(name, source, raw, error, bool(absent))) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _complaint(name: str, source: _Source, raw: Path, error: Exception, absent: bool) -> str:
    """What went wrong, and what to fetch by hand, on one line."""
    from torchvision.datasets.utils import check_integrity

    reason = " ".join(str(error).split()) or type(error).__name__
    files = [raw / archive.path for archive in source.archives]
    folders = " and ".join(str(raw / folder) for folder in source.folders)
    by_hand = (
        f"fetch {' and '.join(file.name for file in files)} from {source.page} and put it at "
        f"{' and '.join(map(str, files))}, or its contents at {folders}"
    )
    if full_disk(error):
        gigabytes = 2 * sum(archive.megabytes for archive in source.archives) / 1000
        return (
            f"{name}: no space left on the disk of {raw}; free {gigabytes:.1f} GB for the archive and its contents and "
            "run the same command again"
        )
    if not absent:
        return f"{name}: {folders} is incomplete or damaged ({reason}); delete it and run again, or {by_hand}"
    damaged = [
        str(file)
        for file, archive in zip(files, source.archives, strict=True)
        if file.is_file() and not check_integrity(file, archive.md5)
    ]
    if damaged:
        return (
            f"{name}: {' and '.join(damaged)} is damaged (its checksum is not the published one) and cannot be fetched "
            f"again ({reason}); delete it and {by_hand}"
        )
    if all(file.is_file() for file in files):
        return (
            f"{name}: cannot unpack {' and '.join(map(str, files))} ({reason}); free space, or unpack it to {folders}"
        )
    return f"{name} cannot be downloaded ({reason}); {by_hand}"


@contextlib.contextmanager
def _locked(raw: Path, name: str) -> Iterator[None]:
    """Let one process at a time fetch a data set: two resolutions of it may be prepared at once."""
    try:
        raw.mkdir(parents=True, exist_ok=True)
        file = (raw / f".{name}.lock").open("w")
    except OSError as error:
        raise DataError(f"cannot write to {raw}: {error.strerror}; choose another folder for downloads") from error
    with file:
        # Some file systems have no locks; a second download is then only wasteful.
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch_cifar(kind: str) -> Callable[[Any, Path], Any]:
    def fetch_both(datasets: Any, raw: Path) -> Any:
        return {part: getattr(datasets, kind)(raw, train=part == "train", download=True) for part in ("train", "test")}

    return fetch_both


def _list_cifar(fetched: Any, raw: Path) -> tuple[Iterable[str], Mapping[str, Listing]]:
    listings = {
        part: Listing(np.asarray(dataset.targets, dtype=np.int64), dataset.data) for part, dataset in fetched.items()
    }
    return fetched["train"].classes, listings


def _list_eurosat(fetched: Any, raw: Path) -> tuple[Iterable[str], Mapping[str, Listing]]:
    folders = _folders(raw / "eurosat" / "2750")
    return [folder.name for folder in folders], {"train": _by_class(folder.glob("*.jpg") for folder in folders)}


def _list_caltech(fetched: Any, raw: Path) -> tuple[Iterable[str], Mapping[str, Listing]]:
    # Two class folders also hold a script and a nested folder; the images are the .jpg files directly in them.
    folders = _folders(raw / "caltech256" / "256_ObjectCategories")
    return [folder.name for folder in folders], {"train": _by_class(folder.glob("*.jpg") for folder in folders)}


def _list_sun(fetched: Any, raw: Path) -> tuple[Iterable[str], Mapping[str, Listing]]:
    root = raw / "SUN397"
    # A line is a class's folder below its initial, such as /a/abbey or /a/apartment_building/outdoor.
    lines = [line.lstrip("/") for line in _lines(root / "ClassName.txt")]
    listing = _by_class((root / line).glob("sun_*.jpg") for line in lines)
    return [line.partition("/")[2] for line in lines], {"train": listing}


def _list_pet(fetched: Any, raw: Path) -> tuple[Iterable[str], Mapping[str, Listing]]:
    root = raw / "oxford-iiit-pet"
    listings, names = {}, {}
    for part, file in (("train", "trainval.txt"), ("test", "test.txt")):
        path = root / "annotations" / file
        try:
            # A line is an image's name, its class from 1, its species and its number within that.
            rows = [(words[0], int(words[1]) - 1) for words in map(str.split, _lines(path))]
        except (IndexError, ValueError) as error:
            raise DataError(f"{path} is damaged ({error}); delete {path.parent} and run again") from error
        names.update({label: name.rpartition("_")[0] for name, label in rows})
        labels = np.asarray([label for _, label in rows], dtype=np.int64)
        listings[part] = Listing(labels, [root / "images" / f"{name}.jpg" for name, _ in rows])
    return [names[label] for label in sorted(names)], listings


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _by_class(files: Iterable[Iterable[Path]]) -> Listing:
    """The files of each class, sorted: directories are listed in no particular order."""
    listed = [sorted(paths) for paths in files]
    labels = np.repeat(np.arange(len(listed)), [len(paths) for paths in listed]).astype(np.int64)
    return Listing(labels, [path for paths in listed for path in paths])


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete {path.parent} and run again") from error


SOURCES: dict[str, _Source] = {
    "cifar-10": _Source(
        _fetch_cifar("CIFAR10"),
        _list_cifar,
        (Archive("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", 170),),
        ("cifar-10-batches-py",),
        "https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    "cifar-100": _Source(
        _fetch_cifar("CIFAR100"),
        _list_cifar,
        (Archive("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", 169),),
        ("cifar-100-python",),
        "https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    "eurosat": _Source(
        lambda datasets, raw: datasets.EuroSAT(raw, download=True),
        _list_eurosat,
        (Archive("eurosat/EuroSAT.zip", "c8fa014336c82ac7804f0398fcb19387", 94),),
        ("eurosat/2750",),
        "https://github.com/phelber/EuroSAT",
    ),
    "caltech256": _Source(
        lambda datasets, raw: datasets.Caltech256(raw, download=True),
        _list_caltech,
        (Archive("caltech256/256_ObjectCategories.tar", "67b4f42ca05d46448c6bb8ecd2220f6d", 1183),),
        ("caltech256/256_ObjectCategories",),
        "https://data.caltech.edu/records/nyy15-4j048",
    ),
    "sun397": _Source(
        lambda datasets, raw: datasets.SUN397(raw, download=True),
        _list_sun,
        (Archive("SUN397.tar.gz", "8ca2778205c41d23104230ba66911c7a", 39100),),
        ("SUN397",),
        "https://vision.princeton.edu/projects/2010/SUN/",
    ),
    "oxford-pet": _Source(
        lambda datasets, raw: datasets.OxfordIIITPet(raw, download=True),
        _list_pet,
        (
            Archive("oxford-iiit-pet/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c", 792),
            Archive("oxford-iiit-pet/annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f", 19),
        ),
        ("oxford-iiit-pet/images", "oxford-iiit-pet/annotations"),
        "https://www.robots.ox.ac.uk/~vgg/data/pets/",
    ),
}

"""How each data set is fetched and listed, by its name in `params.yaml`."""
