"""Features of views that come again (`view_sets`), kept once they are encoded.

An example's views are one of R sets, so a run shows N R sets of views at most, and each is encoded once. What is kept
is the features of its pictures and the labels of its views, by (example, set). They are those of the run's private
images, so they stay in memory, or in a file that has no name: it is gone when the run ends, however that happens. A run
that was killed encodes them again. The file's space is taken before the first step: a disk that fills later would end
the process without a word, where one writes to a mapped file.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dpmix.execution import IN_MEMORY

_FLOAT32 = 4

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Encoded:
    """The views of n examples after the encoder.

    Attributes:
        features: float32 [m, d + 1], of the m pictures.
        rows: of each method, int64 [n, K]: which of these its views are.
        targets: of each method, float32 [n, K, classes].
    """

    features: Tensor
    rows: Sequence[Tensor]
    targets: Sequence[Tensor]


def bytes_of_set(pictures: float, views: int, width: int, classes: int) -> float:
    """What the views of one example in one set take, in bytes.

    Args:
        pictures: different ones.
        views: K, of all methods together.
        width: d + 1, numbers of a picture.
        classes: numbers of a label.
    """
    return _FLOAT32 * (pictures * width + views * (classes + 1))


class KeptViews:
    """What is known of the views of each example in each set.

    Args:
        population: N, examples or persons.
        view_sets: R.
        views: K of each method.
        pictures: the expected number of different pictures of an example in a set.
        width: d + 1.
        classes: the number of classes.
        most: bytes that may be taken. What exceeds them, or half of the free disk, is encoded again each time.
        folder: where the file is made that has no name, if it takes one.
        device: where features are wanted.
        shown: the share of all sets that are expected to be asked for.
        processes: how many share the run, and each keep some.

    Attributes:
        room: how many sets of examples can be kept.
    """

    def __init__(
        self,
        population: int,
        view_sets: int,
        views: Sequence[int],
        pictures: float,
        *,
        width: int,
        classes: int,
        most: float,
        folder: Path,
        device: str = "cpu",
        shown: float = 1.0,
        processes: int = 1,
    ) -> None:
        sets, asked = population * view_sets, float(population * view_sets)
        if shown < 1:
            asked = min(asked, shown * asked + 3 * asked**0.5)
        wanted = asked * bytes_of_set(pictures, sum(views), width, classes)
        if min(wanted, most) > IN_MEMORY:
            most = room_on_disk(most, folder, processes)
        share = min(1.0, most / wanted)
        # Where the number of pictures is random, it may be larger than expected, but not by so much.
        room = min(asked * sum(views), asked * pictures + 3 * pictures * asked**0.5)
        self._view_sets, self._views, self._device = view_sets, list(views), device
        shapes = (int(np.ceil(share * room)), width), (int(share * asked), sum(views), classes)
        try:
            self._pool, self._labels = (_numbers(shape, torch.float32, share * wanted, folder) for shape in shapes)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._pool, self._labels = (torch.empty(0, *shape[1:]) for shape in shapes)
        # Which row of the pool each view is, and which row of the labels its example has; -1 of what is not kept.
        self._rows = torch.full((len(self._labels), sum(views)), -1, dtype=torch.int32)
        self._place = torch.full((sets,), -1, dtype=torch.int32)
        self._taken = self._known = 0
        self._open = True
        self.room = len(self._labels)

    def close(self) -> None:
        """Keep nothing more."""
        self._open = False

    def of(
        self,
        units: npt.NDArray[np.int64],
        sets: npt.NDArray[np.int64],
        encode: Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], Encoded],
    ) -> list[tuple[Tensor, Tensor]]:
        """For each method the features of its views, float32 [n, K, d + 1], and their targets [n, K, classes].

        Args:
            units: int64 [n], different ones.
            sets: int64 [n], which set each shows.
            encode: makes and encodes the views of some of these.
        """
        slots = torch.from_numpy(units * self._view_sets + sets)
        places = self._place[slots].long()
        absent = places < 0
        made = None
        if bool(absent.any()):
            made = encode(units[absent.numpy()], sets[absent.numpy()])
            if self._open:
                self._keep(slots[absent], made)
        known = places[~absent]
        rows = self._rows[known].long().split(self._views, dim=1)
        labels = self._labels[known].split(self._views, dim=1)
        found = []
        for index in range(len(self._views)):
            features, targets = self._pool[rows[index]].to(self._device), labels[index].to(self._device)
            if made is not None:
                features = _merged(absent, features, made.features[made.rows[index]])
                targets = _merged(absent, targets, made.targets[index])
            found.append((features, targets))
        return found

    def _keep(self, slots: Tensor, made: Encoded) -> None:
        """Keep the views of some examples, as many as there is room for."""
        rows = torch.cat([one.cpu() for one in made.rows], dim=1)
        pictures, which = rows.unique(return_inverse=True)
        if self._taken + len(pictures) > len(self._pool) or self._known + len(slots) > len(self._labels):
            return
        pool = slice(self._taken, self._taken + len(pictures))
        known = torch.arange(self._known, self._known + len(slots))
        self._pool[pool] = made.features[pictures.to(self._device)].cpu()
        self._labels[known] = torch.cat([one.cpu() for one in made.targets], dim=1)
        self._rows[known] = (which + self._taken).int()
        self._place[slots] = known.int()
        self._taken, self._known = pool.stop, self._known + len(slots)


def _merged(absent: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Rows of two tensors in one: `new` where `absent` [n] says so, else `old`."""
    merged = new.new_empty(len(absent), *new.shape[1:])
    mask = absent.to(new.device)
    merged[~mask], merged[mask] = old, new
    return merged


def room_on_disk(most: float, folder: Path, processes: int) -> float:
    """How many of `most` bytes one process may take in a folder: with all others of its run half of what is free."""
    folder.mkdir(parents=True, exist_ok=True)
    return min(most, shutil.disk_usage(folder).free / 2 / processes)


def numbers_in_memory_or_file(shape: tuple[int, int], dtype: torch.dtype, together: float, folder: Path) -> Tensor:
    """Room for numbers [rows, width]: memory, or a mapped file without a name where it is large; no rows if it is full.

    Args:
        shape: of the tensor.
        dtype: of its numbers, of 2 or 4 bytes.
        together: bytes of all that is kept.
        folder: where the file is made.
    """
    try:
        return _numbers(shape, dtype, together, folder)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return torch.empty(0, shape[1], dtype=dtype)


def _numbers(shape: tuple[int, ...], dtype: torch.dtype, together: float, folder: Path) -> Tensor:
    """Room for numbers: memory, or a mapped file without a name where all together is large."""
    if together <= IN_MEMORY or 0 in shape:
        return torch.empty(shape, dtype=dtype)
    kind = np.dtype(np.float32) if dtype.itemsize == _FLOAT32 else np.dtype(np.int16)
    # The file is unlinked as soon as it is open, so that no kill leaves features of private images on the disk.
    with tempfile.TemporaryFile(dir=folder) as file:
        _take(file.fileno(), kind.itemsize * int(np.prod(shape, dtype=np.int64)))
        return torch.from_numpy(np.memmap(file, dtype=kind, mode="w+", shape=shape)).view(dtype)


def _take(file: int, size: int) -> None:
    """Take a file's space on the disk, where the file system can."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno in _FULL:
            raise
