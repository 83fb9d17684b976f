"""Reads image stores: folders of decoded images, memory-mapped. `dpmix.data.store` writes them.

    <split>_images.npy   uint8 [N, C, R, R]
    <split>_labels.npy   int64 [N]
    meta.json            classes, resolution, channels, sizes of the splits, source, digest of a drawn split

with the splits `train` and `test`, or `train` alone for a synthetic set D.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dpmix.errors import DataError, DpmixError, one_line
from dpmix.files import read_json

SPLITS = ("train", "test")


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
        """The number of classes, those without an image included."""
        return len(self.classes)


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
        raise DataError(f"{directory} is damaged ({one_line(error)}); delete it and make it again") from error
    if not whole:
        raise DataError(f"{directory} disagrees with its meta.json about split {split!r}; delete it and make it again")
    return Images(images, labels, classes)
