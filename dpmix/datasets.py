"""Private and synthetic images: fetched or made, split, and decoded once into memory-mapped image stores.

An image store is a folder that every later step reads:

    <split>_images.npy   uint8 [N, C, R, R]
    <split>_labels.npy   int64 [N]
    meta.json            classes, resolution, channels, sizes of the splits, source, digest of a drawn split

with the splits `train` and `test`, or `train` alone for a synthetic set D. An image is resized by bicubic interpolation
with antialiasing until its shorter side is R, then cropped at the centre, as the encoders' own preprocessing does.

A store is decoded in a folder beside its own, `.<name>.partial`, and moved when it is whole. Work that stops because an
image is damaged, the disk is full or the machine goes down is gone on with where it stopped.

Splits (appendix C): CIFAR and Oxford-IIIT Pet come with theirs. EuroSAT, Caltech 256 and SUN397 have none and the paper
does not publish its own, so theirs are drawn here, as are those of digits and of image folders without one: stratified
by class, by a key that depends on no library's generator. Which images are training records is part of the public
description of the data; epsilon speaks of these records.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dpmix import zips
from dpmix.errors import DataError, DpmixError
from dpmix.files import read_json, replace_directory, write_json
from dpmix.progress import progress

if TYPE_CHECKING:
    from PIL import Image

    from dpmix.params import DatasetSpec

SPLITS = ("train", "test")
SPLIT_SEED = 2023
# `split_digest` of splits that results rest on, by the name that keys them and the number of images split.
SPLIT_DIGESTS = {("digits", 1797): "91b394f2180ddea47eada74e2462f21342eedaca56f7a6d42a830808f1dadd1a"}
DIGITS_TRAIN, DIGITS_TEST = 1437, 360

# Files that operating systems leave in folders.
_LITTER = frozenset({"thumbs.db", "desktop.ini"})
# Formats that Pillow passes to other programs, or lists without being able to decode them.
_NOT_PICTURES = frozenset({"EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR", "FITS"})
_DECODED_AT_A_TIME = 256
_SAVED_AT_A_TIME = 2048
_ORIENTATION = 0x0112


@dataclass(frozen=True, eq=False)
class Images:
    """One split of an image store.

    Attributes:
        images: uint8 [N, C, R, R], memory-mapped and read-only.
        labels: int64 [N], indices into `classes`.
        classes: the names of the classes.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """How many classes there are, whether or not each has an image here."""
        return len(self.classes)


def load(directory: Path, split: str = "train") -> Images:
    """Open one split of an image store.

    Raises:
        DataError: if the store or the split is missing, damaged or incomplete.
    """
    directory = Path(directory)
    if not (directory / "meta.json").is_file():
        raise DataError(f"{directory} is not an image store (it has no meta.json); run the step that makes it")
    try:
        meta = read_json(directory / "meta.json")
        classes, sizes = tuple(meta["classes"]), meta["sizes"]
        if split not in sizes:
            raise DataError(f"{directory} has no split {split!r}, only {', '.join(sizes)}; use one of these")
        images = np.load(directory / f"{split}_images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(directory / f"{split}_labels.npy", allow_pickle=False)
        shape = (sizes[split], meta["channels"], meta["resolution"], meta["resolution"])
        whole = (
            images.shape == shape
            and images.dtype == np.uint8
            and labels.shape == shape[:1]
            and labels.dtype == np.int64
            and (len(labels) == 0 or (labels.min() >= 0 and labels.max() < len(classes)))
        )
    except DataError:
        raise
    except (DpmixError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{directory} is damaged ({_one_line(error)}); delete it and make it again") from error
    if not whole:
        raise DataError(f"{directory} disagrees with its meta.json about split {split!r}; delete it and make it again")
    return Images(images, labels, classes)


def prepare(spec: "DatasetSpec", resolution: int, raw: Path, out: Path) -> None:
    """Fetch or make a private data set, split it, and write its image store `out`, whole or not at all.

    Args:
        spec: the data set; its sizes are the published ones.
        resolution: R, in pixels.
        raw: where downloads are kept, shared by all data sets; unused for other sources.
        out: the image store to write; one that is there is replaced.

    What was decoded before an error is kept in `.<out>.partial` beside `out`, and the next call goes on from there.

    Raises:
        DataError: if it cannot be fetched, an image cannot be read, or a size is not the published one.
        DpmixError: if the disk is full or not writable.
    """
    if spec.source == "torchvision":
        pool = _from_torchvision(spec, Path(raw))
    elif spec.source == "scikit-learn":
        pool = _from_scikit_learn(spec)
    else:
        pool = _from_folder(Path(spec.path or "."), spec.test)
    sizes = {split: len(part.labels) for split, part in pool.parts.items()}
    found = (len(pool.classes), sizes["train"], sizes["test"])
    if found != (spec.classes, spec.train, spec.test):
        raise DataError(
            f"{spec.name}: {pool.origin} holds {found[0]} classes, {found[1]} training and {found[2]} test images, but "
            f"its sizes are given as {spec.classes}, {spec.train} and {spec.test}; {pool.remedy}"
        )
    _write_store(Path(out), pool, resolution, spec.channels, spec.name)


def pack_images(
    paths: Sequence[Path],
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    resolution: int,
    out: Path,
    channels: int = 3,
) -> None:
    """Write the image store `out` (split `train`) of a synthetic set D, class by class, each in the order given.

    Args:
        paths: the image files.
        labels: int64 [len(paths)], indices into `classes`.
        classes: the private data set's classes, in its order, so that labels agree.
        resolution: R, in pixels.
        out: the image store to write; one that is there is replaced.
        channels: 1 or 3, those of the private data set.

    Raises:
        DataError: if an image cannot be read.
    """
    order = np.argsort(labels, kind="stable")
    part = _of_paths([paths[index] for index in order], labels[order])
    pool = _Pool(tuple(classes), {"train": part}, str(out), "", {"source": "synthetic"})
    _write_store(Path(out), pool, resolution, channels, "synthetic")


def stratified_split(
    labels: npt.NDArray[np.int64], test: int, name: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """A stratified split keyed by `name`: sorted indices of the training part and of the `test` others.

    Each class gives its share of the test part, rounded down; the classes with the largest remainders give one more
    until the total is exactly `test` (ties to the class that comes first).

    Raises:
        ValueError: unless 0 <= test <= N.
    """
    from dpmix.random import KeyedRandom

    if not 0 <= test <= len(labels):
        raise ValueError(f"cannot take {test} test images out of {len(labels)}")
    counts = np.bincount(labels)
    quota, remainder = np.divmod(counts * test, max(len(labels), 1))
    quota[np.argsort(-remainder, kind="stable")[: test - quota.sum()]] += 1
    keys = KeyedRandom(SPLIT_SEED, 0, np.arange(len(labels))).uniform(f"split/{name}")
    order = np.lexsort((keys, labels))
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = rank < quota[labels]
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def split_digest(test: npt.NDArray[np.int64]) -> str:
    """The SHA-256 of a split: of the sorted indices, int64 [m], of the images that went to the test part."""
    return hashlib.sha256(np.sort(np.asarray(test)).astype("<i8").tobytes()).hexdigest()


class _Part(NamedTuple):
    """One split before decoding: `open(i)` is image i, and `file(i)` where it lies; None if images have no files."""

    labels: npt.NDArray[np.int64]
    open: Callable[[int], "Image.Image"]
    file: Callable[[int], Path] | None = None

    def only(self, indices: npt.NDArray[np.int64]) -> "_Part":
        def file(index: int) -> Path:
            assert self.file is not None
            return self.file(int(indices[index]))

        of_file = file if self.file is not None else None
        return _Part(self.labels[indices], lambda index: self.open(int(indices[index])), of_file)


class _Pool(NamedTuple):
    """A data set before decoding; `origin` and `remedy` go into messages, `source` into meta.json."""

    classes: tuple[str, ...]
    parts: Mapping[str, _Part]
    origin: str
    remedy: str
    source: Mapping[str, Any]


# Reading and writing images


def _open(path: Path, file: IO[bytes] | None = None) -> "Image.Image":
    """Read one image file as it is meant to be seen; whatever is wrong with it is one clear line."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file or path) as image:
            image.load()
            if image.mode.startswith("I;16"):
                # Pillow clips 16-bit grey at 255 when it converts; scans and X-rays would come out white.
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.mode in ("I", "F"):
                raise ValueError("its pixels have 32 bits; save it with 8 or 16")
            with contextlib.suppress(Exception):  # a broken EXIF block does not make the picture unreadable
                if image.getexif().get(_ORIENTATION, 1) != 1:
                    return ImageOps.exif_transpose(image)
            return image
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise DataError(f"{path} cannot be read as an image ({_one_line(error)}); replace or remove it") from error


def _fit(image: "Image.Image", resolution: int, channels: int) -> npt.NDArray[np.uint8]:
    """Resize the shorter side to R (bicubic, antialiased), crop the centre: uint8 [C, R, R]."""
    from PIL import Image

    image = image.convert("L" if channels == 1 else "RGB")
    width, height = image.size
    if (width, height) != (resolution, resolution):
        # Sizes and offsets are rounded as torchvision's Resize and CenterCrop do, which OpenCLIP's preprocessing uses.
        shorter = min(width, height)
        size = (int(resolution * width / shorter), int(resolution * height / shorter))
        image = image.resize(size, Image.Resampling.BICUBIC)
        left, top = round((size[0] - resolution) / 2), round((size[1] - resolution) / 2)
        image = image.crop((left, top, left + resolution, top + resolution))
    pixels = np.asarray(image).reshape(resolution, resolution, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _write_store(out: Path, pool: _Pool, resolution: int, channels: int, name: str) -> None:
    meta = {
        "classes": list(pool.classes),
        "resolution": resolution,
        "channels": channels,
        "sizes": {split: len(part.labels) for split, part in pool.parts.items()},
        "name": name,
        **pool.source,
    }
    with _partial_store(out, meta) as folder:
        for split, part in pool.parts.items():
            _write_images(folder / f"{split}_images.npy", part, (channels, resolution, resolution), f"{name} {split}")
            np.save(folder / f"{split}_labels.npy", part.labels, allow_pickle=False)
        write_json(folder / "meta.json", meta)
        for leftover in (*folder.glob("*.progress"), folder / _SETTINGS):
            leftover.unlink()


_SETTINGS = "settings.json"


@contextlib.contextmanager
def _partial_store(out: Path, settings: Mapping[str, Any]) -> Iterator[Path]:
    """The folder in which `out` grows, kept when something goes wrong; on success it replaces `out`.

    What an earlier call left is kept if it had the same settings. One process at a time works on it.
    """
    folder = out.with_name(f".{out.name}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            _lock(lock, out)
            known = folder / _SETTINGS
            if not (known.is_file() and known.read_text(encoding="utf-8") == json.dumps(settings, sort_keys=True)):
                for old in folder.iterdir():
                    if old.name != ".lock":
                        old.unlink()
                known.write_text(json.dumps(settings, sort_keys=True), encoding="utf-8")
            yield folder
            replace_directory(folder, out)
            (out / ".lock").unlink()
    except OSError as error:
        raise DpmixError(
            f"cannot write {out}: {error.strerror}; free space or choose another folder, and run the same command "
            f"again (what is decoded stays in {folder})"
        ) from error


def _lock(file: IO[str], out: Path) -> None:
    # Some file systems have no locks; two processes at once are then the user's to avoid.
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(f"another process is making {out}; wait for it, or stop it") from error
    except (ImportError, OSError):
        return


def _write_images(path: Path, part: _Part, shape: tuple[int, int, int], label: str) -> None:
    """Decode a part into the .npy file `path`, uint8 [N, *shape], going on where an earlier call stopped.

    Written rather than memory-mapped: on a full disk a write raises an error, where a mapped page kills the process.
    """
    count, size = len(part.labels), math.prod(shape)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)})
    begin = header.tell()
    progress_file = path.with_suffix(".progress")
    done, seen = _decoded_before(progress_file, path, part, begin, size)
    with path.open("r+b" if done else "wb") as file:
        if not done:
            file.write(header.getvalue())
        file.seek(begin + done * size)
        file.truncate()
        if done:
            label = f"{label}, from image {done} of {count}"
        images = iter(progress(_decoded(part, shape[1], shape[0], done), label, "image", count - done))
        try:
            while done < count:
                for image in itertools.islice(images, _SAVED_AT_A_TIME):
                    stamp = _stamp(part, done)
                    file.write(image.data)
                    seen.update(stamp)
                    done += 1
                _save_progress(file, progress_file, done, seen)
        except BaseException:
            with contextlib.suppress(OSError, DpmixError):
                _save_progress(file, progress_file, done, seen)
            raise


def _save_progress(file: IO[bytes], progress_file: Path, done: int, seen: "hashlib._Hash") -> None:
    """Images are on disk before they are said to be."""
    file.flush()
    os.fsync(file.fileno())
    write_json(progress_file, {"images": done, "files": seen.hexdigest()})


def _decoded_before(progress_file: Path, path: Path, part: _Part, begin: int, size: int) -> tuple[int, "hashlib._Hash"]:
    """How many images of `path` are there to stay, their files being the same since, and the digest of those files."""
    fresh = (0, hashlib.sha256())
    if part.file is None or not progress_file.is_file() or not path.is_file():
        return fresh
    try:
        before = read_json(progress_file)
        done, files = int(before["images"]), str(before["files"])
    except (DpmixError, KeyError, TypeError, ValueError):
        return fresh
    if not 0 < done <= len(part.labels) or path.stat().st_size < begin + done * size:
        return fresh
    seen = hashlib.sha256()
    for index in range(done):
        seen.update(_stamp(part, index))
    return (done, seen) if seen.hexdigest() == files else fresh


def _stamp(part: _Part, index: int) -> bytes:
    """What tells that an image's file was replaced: its path, size and time."""
    if part.file is None:
        return b""
    path = part.file(index)
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); replace it and run again") from error
    return f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode()


def _decoded(part: _Part, resolution: int, channels: int, first: int = 0) -> Iterator[npt.NDArray[np.uint8]]:
    """Each image of a part in order from `first` on, decoded on all cores (Pillow releases the interpreter's lock)."""

    def one(index: int) -> npt.NDArray[np.uint8]:
        return _fit(part.open(index), resolution, channels)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(max_workers=min(cores, 16)) as workers:
        for start in range(first, len(part.labels), _DECODED_AT_A_TIME):
            yield from workers.map(one, range(start, min(start + _DECODED_AT_A_TIME, len(part.labels))))


# Folders of images


@functools.cache
def _suffixes() -> frozenset[str]:
    from PIL import Image

    return frozenset(
        suffix
        for suffix, kind in Image.registered_extensions().items()
        if kind in Image.OPEN and kind not in _NOT_PICTURES
    )


def _class_folders(root: Path) -> list[Path]:
    """The class folders of a folder, sorted by name."""
    if not root.is_dir():
        raise DataError(f"{root} does not exist or is not a folder; give one with a folder of images for each class")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise DataError(f"{root} has no class folders; put each class's images into a folder of its own")
    return folders


def _image_files(folder: Path) -> list[Path]:
    """Every image below a folder, sorted by path; what is neither an image nor litter is refused by name."""
    suffixes = _suffixes()
    files = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.name.lower() in _LITTER or path.is_dir():
            continue
        if path.suffix.lower() not in suffixes:
            # Skipped silently, a camera's unsupported format would quietly shrink the data set.
            raise DataError(f"{path} is not an image that Pillow reads; convert or remove it")
        files.append(path)
    if not files:
        raise DataError(f"{folder} holds no image; put its images there or remove the folder")
    return files


def _files(folders: Sequence[Path]) -> _Part:
    """The images of class folders; a folder's place in the list is its label."""
    listed = [_image_files(folder) for folder in folders]
    labels = np.repeat(np.arange(len(listed)), [len(files) for files in listed])
    return _of_paths([path for files in listed for path in files], labels)


def _of_paths(paths: Sequence[Path], labels: npt.ArrayLike) -> _Part:
    return _Part(np.asarray(labels, dtype=np.int64), lambda index: _open(paths[index]), lambda index: paths[index])


def _has_split(root: Path) -> bool:
    names = {path.name for path in _class_folders(root)}
    if "train" in names and names <= {"train", "val", "valid", "validation"}:
        raise DataError(f"{root} has a folder train but none called test; add it, or put the class folders into {root}")
    # Both, since "train" alone may be a class among other vehicles.
    return {"train", "test"} <= names


def _from_folder(root: Path, test: int) -> _Pool:
    origin, remedy = str(root), "correct the sizes in params.yaml or the folder"
    if zips.find(root):
        return _from_zips(root, test, remedy)
    if _has_split(root):
        folders = {part: _class_folders(root / part) for part in SPLITS}
        names = {part: {folder.name for folder in folders[part]} for part in SPLITS}
        for one, other in (SPLITS, SPLITS[::-1]):
            for name in sorted(names[one] - names[other]):
                raise DataError(f"{root / other} has no folder for class {name!r} of {root / one}; add or remove it")
        classes = tuple(folder.name for folder in folders["train"])
        parts = {part: _files(folders[part]) for part in SPLITS}
        return _Pool(classes, parts, origin, remedy, {"source": "folder", "split": "given"})
    class_folders = _class_folders(root)
    classes = tuple(folder.name for folder in class_folders)
    parts, drawn = _split_parts(_files(class_folders), test, "folder", f"{root}: ")
    return _Pool(classes, parts, origin, remedy, {"source": "folder", **drawn})


def _from_zips(root: Path, test: int, remedy: str) -> _Pool:
    splits = zips.listing(root, _suffixes(), _LITTER)
    source = {"source": "folder"}
    if "all" in splits:
        by_class = splits["all"]
        parts, drawn = _split_parts(_of_files(by_class.values()), test, "folder", f"{root}: ")
        return _Pool(tuple(by_class), parts, str(root), remedy, {**source, **drawn})
    classes = tuple(splits["train"])
    if strange := sorted(set(classes) ^ set(splits["test"])):
        raise DataError(f"{root}: class {strange[0]!r} is in one of train and test only; add or remove it")
    parts = {split: _of_files(by_class.values()) for split, by_class in splits.items()}
    return _Pool(classes, parts, str(root), remedy, {**source, "split": "given"})


def _of_files(by_class: Iterable[Sequence[zips.File]]) -> _Part:
    """The images of classes in order, read without unpacking."""
    listed = [list(files) for files in by_class]
    files = [file for of_class in listed for file in of_class]
    labels = np.repeat(np.arange(len(listed)), [len(of_class) for of_class in listed]).astype(np.int64)
    return _Part(
        labels,
        lambda index: _open(files[index].path, io.BytesIO(files[index].read())),
        lambda index: files[index].on_disk,
    )


def class_files(source: Path) -> dict[str, list[zips.File]]:
    """The image files of each class of a folder, or zip archive, of class folders; of a split, the training images.

    Raises:
        DataError: as reading a folder data set does.
    """
    source = Path(source)
    if zips.find(source):
        splits = zips.listing(source, _suffixes(), _LITTER)
        return splits.get("all") or splits["train"]
    root = source / "train" if _has_split(source) else source
    return {folder.name: [zips.File(path) for path in _image_files(folder)] for folder in _class_folders(root)}


def image_files(places: Iterable[Path]) -> list[Path]:
    """Image files, given as they are or by a folder that they lie below.

    Raises:
        DataError: for what does not exist, and for a folder without images or with other files.
    """
    files: list[Path] = []
    for place in map(Path, places):
        if not place.exists():
            raise DataError(f"{place} does not exist; give image files, or folders of them")
        files += _image_files(place) if place.is_dir() else [place]
    return files


def decoded(files: Sequence[Path], resolution: int, channels: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Each image file as an image store has it: uint8 [C, R, R], the shorter side resized to R, the centre cropped.

    Raises:
        DataError: for a file that cannot be read as an image.
    """
    return _decoded(_of_paths(files, np.zeros(len(files))), resolution, channels)


def read_public(source: Path, resolution: int) -> Images:
    """All images of a folder or zip archive of class folders, decoded into memory: uint8 [N, 3, R, R].

    Classes are named for prompts, as `archives.readable` does. This is for public images; private ones belong into an
    image store.

    Raises:
        DataError: as reading a folder data set does.
    """
    from dpmix.archives import readable

    by_class = class_files(source)
    part = _of_files(by_class.values())
    images = np.empty((len(part.labels), 3, resolution, resolution), dtype=np.uint8)
    for index, image in enumerate(progress(_decoded(part, resolution, 3), "decoding", "image", len(images))):
        images[index] = image
    return Images(images, part.labels, tuple(map(readable, by_class)))


def _split_parts(part: _Part, test: int, name: str, where: str) -> tuple[dict[str, _Part], dict[str, Any]]:
    """A split drawn here, and what meta.json says of it."""
    total = len(part.labels)
    if test >= total:
        raise DataError(f"{where}{test} test images asked for, but there are {total} images in all; ask for fewer")
    train, held = stratified_split(part.labels, test, name)
    digest = split_digest(held)
    if SPLIT_DIGESTS.get((name, total), digest) != digest:
        raise DataError(
            f"{where}the split drawn is not the one that results rest on, so the images or their classes have changed; "
            "fetch them again"
        )
    drawn = {"split": f"stratified, keyed by {name!r}", "split_seed": SPLIT_SEED, "split_sha256": digest}
    return {"train": part.only(train), "test": part.only(held)}, drawn


# Published data sets


def _from_scikit_learn(spec: "DatasetSpec") -> _Pool:
    """Scikit-learn's digits: 8 x 8 pixels of 0 .. 16. Fewer training images than 1,437 are a keyed subset of these."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    whole = _Part(digits.target.astype(np.int64), lambda index: Image.fromarray(pixels[index]))
    parts, drawn = _split_parts(whole, DIGITS_TEST, "digits", "digits: ")
    if spec.train < DIGITS_TRAIN:
        _, subset = stratified_split(parts["train"].labels, spec.train, "digits/subset")
        parts["train"] = parts["train"].only(subset)
    classes = tuple(str(name) for name in digits.target_names)
    remedy = f"give train at most {DIGITS_TRAIN}, test {DIGITS_TEST} and classes 10"
    return _Pool(classes, parts, "scikit-learn", remedy, {"source": "scikit-learn", **drawn})


def _from_torchvision(spec: "DatasetSpec", raw: Path) -> _Pool:
    from PIL import Image

    from dpmix import archives

    def part(listing: archives.Listing) -> _Part:
        images = listing.images
        if isinstance(images, np.ndarray):
            return _Part(listing.labels, lambda index: Image.fromarray(images[index]))
        return _of_paths(images, listing.labels)

    published = archives.fetch(spec.name, raw)
    parts = {name: part(listing) for name, listing in published.listings.items()}
    source = {"source": "torchvision", "split": "official"}
    if "test" not in parts:
        parts, drawn = _split_parts(parts["train"], spec.test, spec.name, f"{spec.name}: ")
        source |= drawn
    folders = " and ".join(map(str, published.folders))
    return _Pool(published.classes, parts, folders, f"delete {folders} and run again, to unpack it anew", source)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
