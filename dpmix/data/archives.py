"""Published data sets: fetched and unpacked by torchvision, then listed; `dpmix.data.published` has each.

torchvision compares every archive with its published checksum before it unpacks it, and the pickled files of CIFAR
before it opens them. Images are listed here rather than by torchvision's classes, whose order depends on the file
system for one data set and whose private attributes would be needed for another.
"""

import contextlib
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dpmix.data.class_names import readable
from dpmix.data.decoding import Part, part_of_paths
from dpmix.errors import DataError, ParamsError, one_line, suggestion
from dpmix.network import full_disk, retried
from dpmix.params.registries import DATA_SETS, registered

# A mirror that accepts a connection and then stays silent would hang for ever.
TIMEOUT_S = 60.0


# The classes' names in the order of the labels; and the images, as `train` and `test` where the data set has a split of
# its own, else all as `train`.
Found = tuple[Iterable[str], Mapping[str, Part]]


class Fetched(NamedTuple):
    """A published data set on disk.

    Attributes:
        classes: readable names, in the order of the labels.
        parts: as in `Found`.
        folders: what was unpacked.
    """

    classes: tuple[str, ...]
    parts: Mapping[str, Part]
    folders: tuple[Path, ...]


class Archive(NamedTuple):
    """A file to fetch, relative to the folder of downloads, its MD5 sum as torchvision knows it, and its size."""

    path: str
    md5: str
    megabytes: int


class Source(NamedTuple):
    """How a published data set is fetched and listed; `dpmix.params.registries.DATA_SETS` names each.

    Attributes:
        fetch: called with `torchvision.datasets` and the folder of downloads; fetches and unpacks there whatever is not
            there yet. What it returns is handed to `list`.
        list: called with that and the folder; says what is there.
        archives: what is downloaded, to tell a person what to fetch by hand; none if nothing is.
        folders: what is unpacked, relative to the folder of downloads.
        page: where a person finds the archives.
    """

    fetch: Callable[[Any, Path], Any]
    list: Callable[[Any, Path], Found]
    archives: tuple[Archive, ...]
    folders: tuple[str, ...]
    page: str


def source_of(name: str) -> Source:
    """The source of a published data set, by a name of `DATA_SETS`."""
    source: Source = registered(DATA_SETS, name)
    return source


def fetch(name: str, raw: Path) -> Fetched:
    """Fetch a published data set into `raw`, unless it is there, and list its images.

    Args:
        name: one of `dpmix.params.registries.DATA_SETS`.
        raw: the folder of downloads; archives and unpacked folders lie where torchvision puts them.

    Raises:
        ParamsError: for an unknown name.
        DataError: if it cannot be downloaded, in four attempts, or unpacked; the message says what to fetch by hand and
            where to put it.
    """
    if name not in DATA_SETS:
        raise ParamsError(f"unknown torchvision data set {name!r}; {suggestion(name, DATA_SETS)}")
    source, raw = source_of(name), Path(raw)
    with _locked(raw, name):
        fetched = _fetched(name, source, raw)
        names, parts = source.list(fetched, raw)
    return Fetched(tuple(map(readable, names)), parts, tuple(raw / folder for folder in source.folders))


def _fetched(name: str, source: Source, raw: Path) -> Any:
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


def _complaint(name: str, source: Source, raw: Path, error: Exception, absent: bool) -> str:
    """What went wrong, and what to fetch by hand, on one line."""
    from torchvision.datasets.utils import check_integrity

    reason = one_line(error)
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


def class_folders(root: Path) -> dict[str, Path]:
    """The folders in `root` by their names, in alphabetical order, without hidden ones."""
    return {path.name: path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")}


def by_class(folders: Mapping[str, Path], pattern: str) -> Found:
    """What is there where each class has a folder, without a split: the files of this pattern, sorted.

    Args:
        folders: by the classes' names.
        pattern: of the images' names, such as "*.jpg".
    """
    listed = [sorted(folder.glob(pattern)) for folder in folders.values()]
    labels = np.repeat(np.arange(len(listed)), list(map(len, listed)))
    return folders, {"train": part_of_paths([path for paths in listed for path in paths], labels)}


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that are not blank, stripped; a file that cannot be read is a `DataError`."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete {path.parent} and run again") from error
