"""Images in class folders, on disk or in zip archives: finds the image files, their classes and their splits."""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dpmix.data import zips
from dpmix.data.decoding import Part, Pool, decode, open_image
from dpmix.data.file_names import LITTER, suffixes
from dpmix.data.images import SPLITS, Images
from dpmix.data.splits import split_parts
from dpmix.errors import DataError, suggestion
from dpmix.progress import progress


# Folders of images
def _class_folders(root: Path) -> list[Path]:
    """The class folders of a folder, sorted by name."""
    if not root.is_dir():
        raise DataError(f"{root} does not exist or is not a folder; give one with a folder of images for each class")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise DataError(f"{root} has no class folders; put each class's images into a folder of its own")
    return folders


def _image_files(folder: Path) -> list[Path]:
    """All images below a folder, sorted by path. Hidden files and `LITTER` are ignored.

    Raises:
        DataError: for any other file that is no image, and for a folder without images.
    """
    known = suffixes()
    files = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.name.lower() in LITTER or path.is_dir():
            continue
        if path.suffix.lower() not in known:
            # Were such files skipped, a format that Pillow does not read would make the data set smaller unnoticed.
            raise DataError(f"{path} is not an image that Pillow reads; convert or remove it")
        files.append(path)
    if not files:
        raise DataError(f"{folder} holds no image; put its images there or remove the folder")
    return files


def _files(folders: Sequence[Path]) -> Part:
    """The images of class folders. The label of an image is the index of its folder in the list."""
    listed = [_image_files(folder) for folder in folders]
    labels = np.repeat(np.arange(len(listed)), [len(files) for files in listed])
    return part_of_paths([path for files in listed for path in files], labels)


def part_of_paths(paths: Sequence[Path], labels: npt.ArrayLike) -> Part:
    """Image files as a part, their labels int64 [N]."""
    return Part(np.asarray(labels, dtype=np.int64), lambda index: open_image(paths[index]), lambda index: paths[index])


def _has_split(root: Path) -> bool:
    names = {path.name for path in _class_folders(root)}
    if "train" in names and names <= {"train", "val", "valid", "validation"}:
        raise DataError(f"{root} has a folder train but none called test; add it, or put the class folders into {root}")
    # Both, since "train" alone may be a class among other vehicles.
    return {"train", "test"} <= names


def pool_of_folder(root: Path, test: int) -> Pool:
    """The images of a folder data set before decoding.

    Args:
        root: a folder of class folders, of `train` and `test` folders of these, or of zip archives; or a zip archive.
        test: how many test images to draw where the images are not split already.

    Raises:
        DataError: if there are no class folders, files that are no images, or classes with images in one split only.
    """
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
        return Pool(classes, parts, origin, remedy, {"source": "folder", "split": "given"})
    class_folders = _class_folders(root)
    classes = tuple(folder.name for folder in class_folders)
    parts, drawn = split_parts(_files(class_folders), test, "folder", f"{root}: ")
    return Pool(classes, parts, origin, remedy, {"source": "folder", **drawn})


def _from_zips(root: Path, test: int, remedy: str) -> Pool:
    splits = zips.listing(root, suffixes(), LITTER)
    source = {"source": "folder"}
    if "all" in splits:
        by_class = splits["all"]
        parts, drawn = split_parts(_of_files(by_class.values()), test, "folder", f"{root}: ")
        return Pool(tuple(by_class), parts, str(root), remedy, {**source, **drawn})
    classes = tuple(splits["train"])
    if strange := sorted(set(classes) ^ set(splits["test"])):
        raise DataError(f"{root}: class {strange[0]!r} is in one of train and test only; add or remove it")
    parts = {split: _of_files(by_class.values()) for split, by_class in splits.items()}
    return Pool(classes, parts, str(root), remedy, {**source, "split": "given"})


def _of_files(by_class: Iterable[Sequence[zips.File]]) -> Part:
    """The images of classes, class by class; those in archives are read without unpacking."""
    listed = [list(files) for files in by_class]
    labels = np.repeat(np.arange(len(listed)), [len(of_class) for of_class in listed])
    return part_of_files([file for of_class in listed for file in of_class], labels)


def part_of_files(
    files: Sequence[zips.File], labels: npt.ArrayLike, persons: npt.NDArray[np.int64] | None = None
) -> Part:
    """Image files, on disk or in archives, as a part; their labels int64 [N], and their persons if these are known."""
    return Part(
        np.asarray(labels, dtype=np.int64),
        lambda index: open_image(files[index].path, io.BytesIO(files[index].read())),
        lambda index: files[index].on_disk,
        persons,
    )


def class_files(source: Path) -> dict[str, list[zips.File]]:
    """The image files of each class, by the class folder's name.

    Args:
        source: a folder or zip archive of class folders. If it has `train` and `test`, only `train` is read.

    Raises:
        DataError: if there are no class folders, no images, or files that are no images.
    """
    source = Path(source)
    if zips.find(source):
        splits = zips.listing(source, suffixes(), LITTER)
        return splits.get("all") or splits["train"]
    root = source / "train" if _has_split(source) else source
    return {folder.name: [zips.File(path) for path in _image_files(folder)] for folder in _class_folders(root)}


def image_files(places: Iterable[Path]) -> list[Path]:
    """All image files at these places: a place is an image file, or a folder whose images at any depth are taken.

    Raises:
        DataError: for a place that does not exist, and for a folder without images or with other files.
    """
    files: list[Path] = []
    for place in map(Path, places):
        if not place.exists():
            raise DataError(f"{place} does not exist; give image files, or folders of them")
        files += _image_files(place) if place.is_dir() else [place]
    return files


def decoded(files: Sequence[Path], resolution: int, channels: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Each image file decoded as for an image store: uint8 [C, R, R], shorter side resized to R, centre cropped.

    Raises:
        DataError: for a file that cannot be read as an image.
    """
    return decode(part_of_paths(files, np.zeros(len(files))), resolution, channels)


def read_public(
    source: str | Path, resolution: int, *, classes: Sequence[str] | None = None, channels: int = 3
) -> Images:
    """All images of a folder or zip archive of class folders, decoded into memory: uint8 [N, channels, R, R].

    The names of classes are those of their folders, in plain words (`class_names.readable`). Use it for public images;
    private images belong in an image store, which fixes the split and the published sizes.

    Args:
        source: a folder or zip archive of class folders. If it has `train` and `test`, only `train` is read.
        resolution: R, in pixels.
        classes: those of the private images, whose numbers the labels then are; a folder's name in plain words is one
            of theirs in plain words. By default the folders' own, in alphabetical order.
        channels: 3, or 1 for grey images.

    Raises:
        DataError: if there are no class folders, one of them is none of `classes`, or a file cannot be read as an
            image.
    """
    from dpmix.data.class_names import readable

    by_class = class_files(Path(source))
    names = tuple(map(readable, by_class)) if classes is None else tuple(classes)
    places = {readable(name): place for place, name in enumerate(names)}
    if strange := [name for name in by_class if readable(name) not in places]:
        raise DataError(
            f"{source}: the folder {strange[0]} is none of the classes; {suggestion(readable(strange[0]), places)}"
        )
    part = _of_files(by_class.values())
    images = np.empty((len(part.labels), channels, resolution, resolution), dtype=np.uint8)
    for index, image in enumerate(progress(decode(part, resolution, channels), "decoding", "image", len(images))):
        images[index] = image
    numbers = np.arange(len(by_class)) if classes is None else np.array([places[readable(name)] for name in by_class])
    return Images(images, numbers[part.labels], names)
