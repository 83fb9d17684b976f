"""Reads image stores: folders of decoded images, memory-mapped. `dpmix.data.store` writes them.

    <split>_images.npy   uint8 [N, C, R, R]
    <split>_labels.npy   int64 [N]
    <split>_persons.npy  int64 [N], only where it is known who is on which image
    meta.json            classes, resolution, channels, sizes of the splits, source, digest of a drawn split, and the
                         digests of the other files (`dpmix.seals`)
    source.json          of which folder or archive it was made, if of one (`dpmix.data.origin`)

with the splits `train` and `test`, or `train` alone for a synthetic set D.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dpmix.errors import DataError, DpmixError, one_line
from dpmix.seals import AGAIN, FILES, check_files, read_record

if TYPE_CHECKING:
    from torch import Tensor

SPLITS = ("train", "test")


@dataclass(frozen=True, eq=False)
class Images:
    """One split of an image store.

    Attributes:
        images: uint8 [N, C, R, R], memory-mapped and read-only.
        labels: int64 [N], indices into `classes`.
        classes: the names of the classes.
        persons: int64 [N], whose image each is, persons being numbered from 0; None where that is not known.

    Raises:
        DataError: for arrays of other types or dimensions, of different lengths, a label that is no class, two classes
            of one name, or a person below 0.

    >>> Images(np.zeros((2, 1, 8, 8), dtype=np.uint8), np.array([0, 3]), ("cat", "dog"))
    Traceback (most recent call last):
    dpmix.errors.DataError: labels go from 0 to 3, but there are 2 classes; number them from 0, or name all classes
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    persons: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        pixels, labels = (getattr(one, "dtype", type(one).__name__) for one in (self.images, self.labels))
        if pixels != np.uint8 or self.images.ndim != 4:
            raise DataError(
                f"images are {pixels} {list(np.shape(self.images))}, not uint8 [N, channels, R, R]; give NumPy arrays "
                "of pixels from 0 to 255"
            )
        if getattr(labels, "kind", "") not in ("i", "u") or self.labels.ndim != 1:
            raise DataError(
                f"labels are {labels} {list(np.shape(self.labels))}, not whole numbers [N]; give a NumPy array of the "
                "images' places in `classes`"
            )
        if len(self.labels) != len(self.images):
            raise DataError(f"there are {len(self.images)} images and {len(self.labels)} labels; give one for each")
        if len(set(self.classes)) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise DataError(f"two classes are called {twice!r}; give each a name of its own, or one number to both")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise DataError(
                f"labels go from {self.labels.min()} to {self.labels.max()}, but there are {len(self.classes)} "
                "classes; number them from 0, or name all classes"
            )
        if self.persons is not None:
            _check_persons(self.persons, len(self.images))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """The number of classes, those without an image included."""
        return len(self.classes)


def _check_persons(persons: npt.NDArray[np.int64], images: int) -> None:
    kind = getattr(persons, "dtype", type(persons).__name__)
    if getattr(kind, "kind", "") not in ("i", "u") or np.shape(persons) != (images,):
        raise DataError(
            f"persons are {kind} {list(np.shape(persons))}, not whole numbers [{images}]; give a NumPy array with the "
            "number of the person of each image"
        )
    if len(persons) and persons.min() < 0:
        raise DataError(f"persons go down to {persons.min()}; number them from 0")


def check_alike(private: Images, public: Images) -> None:
    """Check that public images can be mixed with private ones: the same classes in the same order, and one shape.

    Raises:
        DataError: if a label would stand for another class, or the images differ in channels or resolution.
    """
    if tuple(public.classes) != tuple(private.classes):
        raise DataError(
            f"the public images' classes are {_few(public.classes)} and the private ones' {_few(private.classes)}, so "
            "that labels mean different classes; give them the same names in the same order, as "
            "load_public_images(…, classes=private.classes) does"
        )
    if public.images.shape[1:] != private.images.shape[1:]:
        raise DataError(
            f"public images are {list(public.images.shape[1:])} and private ones {list(private.images.shape[1:])} "
            "(channels, height, width); bring them to one shape, as load_public_images does by resolution and channels"
        )


def _few(names: Sequence[str]) -> str:
    more = f", … ({len(names)})" if len(names) > 5 else ""
    return "(" + ", ".join(map(str, names[:5])) + more + ")"


def batches(images: Images, size: int, device: str = "cpu", most: int | None = None) -> "Iterator[Tensor]":
    """Images in their order as a network takes them: float32 [m, C, R, R] in [0, 1].

    Args:
        images: N images.
        size: of a batch; the last may have fewer.
        device: where batches are put.
        most: how many images to give, the first ones; by default all.
    """
    import torch

    for start in range(0, count := min(most or len(images), len(images)), size):
        part = np.array(images.images[start : min(start + size, count)])
        yield torch.from_numpy(part).to(device).float() / 255


def load(directory: Path, split: str = "train") -> Images:
    """Open one split of an image store.

    Args:
        directory: the store's folder.
        split: `train` or `test`.

    Raises:
        DataError: if the store or the split is missing, damaged or incomplete.
    """
    directory = Path(directory)
    if not (directory / "meta.json").is_file():
        raise DataError(f"{directory} is not an image store (it has no meta.json); run the step that makes it")
    try:
        meta = read_record(directory / "meta.json", f"delete {directory} and run the same command again")
        classes, sizes = tuple(meta["classes"]), meta["sizes"]
        if split not in sizes:
            raise DataError(f"{directory} has no split {split!r}, only {', '.join(sizes)}; use one of these")
        _check_bytes(directory, split, meta.get(FILES))
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
        known = directory / f"{split}_persons.npy"
        persons = np.load(known, allow_pickle=False) if known.is_file() else None
        whole &= persons is None or (
            persons.shape == shape[:1] and persons.dtype == np.int64 and (len(persons) == 0 or persons.min() >= 0)
        )
    except DataError:
        raise
    except (DpmixError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{directory} is damaged ({one_line(error)}); {AGAIN}") from error
    if not whole:
        raise DataError(f"{directory} disagrees with its meta.json about split {split!r}; {AGAIN}")
    return Images(images, labels, classes, persons)


def split_is_given(directory: Path) -> bool:
    """Whether a store's test images are those that its folder or table names, and not drawn by the classes of all."""
    meta = read_record(Path(directory) / "meta.json", f"delete {directory} and run the same command again")
    return meta.get("split") == "given"


def _check_bytes(directory: Path, split: str, digests: Mapping[str, str] | None) -> None:
    """Check the files of one split; of all others a job that opens the store reads nothing."""
    if digests is not None:
        check_files(directory, {name: said for name, said in digests.items() if name.startswith(f"{split}_")})
