"""Published data sets: fetched, compared with their checksums, unpacked and listed; `dpmix.data.published` has each.

A folder appears when its archive is unpacked as a whole, so that one that is there is whole. Images are listed here
rather than by torchvision's classes, whose order depends on the file system for one data set and whose private
attributes would be needed for another.
"""

import contextlib
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dpmix.data.class_names import readable
from dpmix.data.decoding import Part, part_of_paths
from dpmix.downloads import download, is_whole
from dpmix.errors import DataError, ParamsError, one_line, suggestion
from dpmix.files import lock, replace_directory
from dpmix.network import full_disk
from dpmix.params.registries import DATA_SETS, registered

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
    """A file to fetch, relative to the folder of downloads, its address, its MD5 sum, and its size.

    What it holds is one folder, which is unpacked beside it (see `Source.folders`).
    """

    path: str
    url: str
    md5: str
    megabytes: int

    @property
    def name(self) -> str:
        """Of the file."""
        return Path(self.path).name


class Source(NamedTuple):
    """How a published data set is fetched and listed; `dpmix.params.registries.DATA_SETS` names each.

    Attributes:
        archives: what is downloaded; none if nothing is.
        folders: what is unpacked, one folder for each archive, relative to the folder of downloads.
        page: where a person finds the archives.
        list: called with the folder of downloads and the archives; says what is there.
    """

    archives: tuple[Archive, ...]
    folders: tuple[str, ...]
    page: str
    list: Callable[[Path, Sequence[Archive]], Found]


def source_of(name: str) -> Source:
    """The source of a published data set, by a name of `DATA_SETS`."""
    source: Source = registered(DATA_SETS, name)
    return source


def place_of(name: str, raw: Path, checksums: Mapping[str, str] | None = None) -> Path:
    """The folder of downloads of a data set: `raw`, or a folder in it for archives that are not the published ones.

    Args:
        name: one of `dpmix.params.registries.DATA_SETS`.
        raw: the folder of all downloads.
        checksums: as for `fetch`.
    """
    return raw / f"{name}-{'-'.join(one[:8] for one in checksums.values())}" if checksums else raw


def fetch(
    name: str, raw: Path, mirrors: Mapping[str, str] | None = None, checksums: Mapping[str, str] | None = None
) -> Fetched:
    """Fetch a published data set into `raw`, unless it is there, and list its images.

    Args:
        name: one of `dpmix.params.registries.DATA_SETS`.
        raw: the folder of downloads; archives and unpacked folders lie where torchvision would put them.
        mirrors: by an archive's file name, the address where it is fetched instead of from its publisher.
        checksums: by an archive's file name, the MD5 sum of one that is used instead of the published one.

    Raises:
        ParamsError: for an unknown name, of a data set or an archive.
        DataError: if it cannot be downloaded, in four attempts, or unpacked; the message says what to fetch by hand and
            where to put it.
    """
    if name not in DATA_SETS:
        raise ParamsError(f"unknown torchvision data set {name!r}; {suggestion(name, DATA_SETS)}")
    source, raw = source_of(name), place_of(name, Path(raw), checksums)
    archives = _archives(name, source, mirrors or {}, checksums or {})
    with _locked(raw, name):
        for archive, folder in zip(archives, source.folders, strict=True):
            _obtain(name, source, archive, raw, raw / folder)
        names, parts = source.list(raw, archives)
    return Fetched(tuple(map(readable, names)), parts, tuple(raw / folder for folder in source.folders))


def _archives(
    name: str, source: Source, mirrors: Mapping[str, str], checksums: Mapping[str, str]
) -> tuple[Archive, ...]:
    """The archives of a source, some of them from other addresses or with other content."""
    files = [archive.name for archive in source.archives]
    for key, given in (("mirrors", mirrors), ("checksums", checksums)):
        if strange := [file for file in given if file not in files]:
            raise ParamsError(
                f"params.yaml: datasets.{name}.{key}: {name} has no archive {strange[0]!r}; "
                f"{suggestion(strange[0], files)}"
            )
    return tuple(
        archive._replace(url=mirrors.get(archive.name, archive.url), md5=checksums.get(archive.name, archive.md5))
        for archive in source.archives
    )


def _obtain(name: str, source: Source, archive: Archive, raw: Path, folder: Path) -> None:
    """Download and unpack an archive, unless its folder is there.

    Raises:
        DataError: if it cannot be.
    """
    if folder.exists():
        return
    file = raw / archive.path
    by_hand = (
        f"fetch {archive.name} from {source.page} and put it at {file}, or its contents at {folder}, or say under "
        f"datasets.{name}.mirrors where else it is"
    )
    try:
        download(archive.url, file, f"md5:{archive.md5}", name)
    except Exception as error:
        reason = one_line(error, 300)
        if full_disk(error):
            raise _no_room(name, archive, raw) from error
        if file.is_file() and not is_whole(file, f"md5:{archive.md5}"):
            raise DataError(
                f"{name}: {file} is damaged (its checksum is not the published one) and cannot be fetched again "
                f"({reason}); delete it and {by_hand}"
            ) from error
        raise DataError(f"{name} cannot be downloaded ({reason}); {by_hand}") from error
    try:
        _unpack(file, folder)
    except Exception as error:
        if full_disk(error):
            raise _no_room(name, archive, raw) from error
        raise DataError(
            f"{name}: cannot unpack {file} ({one_line(error, 300)}); free space, or unpack it to {folder}"
        ) from error


def _no_room(name: str, archive: Archive, raw: Path) -> DataError:
    return DataError(
        f"{name}: no space left on the disk of {raw}; free {2 * archive.megabytes / 1000:.1f} GB for the archive and "
        "its contents and run the same command again"
    )


def _unpack(file: Path, folder: Path) -> None:
    """Unpack the folder that an archive holds, whole or not at all."""
    for leftover in folder.parent.glob(f".{folder.name}-*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        if tarfile.is_tarfile(file):
            _unpack_tar(file, aside)
        else:  # the standard library's zip reader never leaves the folder
            shutil.unpack_archive(file, aside)
        if not (aside / folder.name).is_dir():
            raise FileNotFoundError(f"it holds no folder {folder.name}")
        replace_directory(aside / folder.name, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _unpack_tar(file: Path, folder: Path) -> None:
    """Unpack a tar archive, which may name places outside of the folder: then nothing of it."""
    with tarfile.open(file) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
            return
        for member in archive:  # Python before 3.11.4
            inside = (folder / member.name).resolve().is_relative_to(folder.resolve())
            if not (inside and (member.isfile() or member.isdir())):
                raise tarfile.ExtractError(f"{member.name!r} is no file or folder in it")
        archive.extractall(folder)


@contextlib.contextmanager
def _locked(raw: Path, name: str) -> Iterator[None]:
    """Let one process at a time fetch a data set: two resolutions of it may be prepared at once."""
    try:
        raw.mkdir(parents=True, exist_ok=True)
        file = (raw / f".{name}.lock").open("w")
    except OSError as error:
        raise DataError(f"cannot write to {raw}: {error.strerror}; choose another folder for downloads") from error
    with file:
        lock(file)  # where there are none, a second download is only wasteful
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
