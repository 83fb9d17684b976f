"""Features of plain views that come again by chance: with crop and flip an image has few different pictures.

Whether a picture was encoded before, by whatever step, method or stream of one job, follows from public draws and from
which example it is of (`dpmix.views.finite`). `dpmix.artefacts.repeated` counts what that saves, and says of which
pictures features are kept. They are in memory, or in a file without a name, as those of `dpmix.training.kept_views`:
gone when the job ends. What is kept of an example owes its last bits to who was encoded in the same pass, so a model
for release never reads any of it.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.repeated import Shown, examples_shown, features_kept, kept_shares, plain_views, views_saved
from dpmix.execution import IN_MEMORY
from dpmix.training.kept_views import numbers_in_memory_or_file, room_on_disk
from dpmix.views.mixing import moved

# Pictures that are copied to be encoded together: whole batches of a GPU, which bounds the memory for their pixels.
_AT_ONCE = 512

_Numbers = npt.NDArray[np.int64]


class KeptCrops:
    """What is known of the pictures that the streams of one job draw, which have the same images and encoder.

    Args:
        streams: of each stream one experiment of each method, in the order in which they are trained.
        most: bytes that all processes together may take. Of what exceeds them, or half of the free disk, the features
            of only some images are kept.
        folder: where the file is made that has no name, if it takes one; by default that of temporary files.
        processes: how many share each run.
    """

    def __init__(
        self, streams: Sequence[Sequence[Experiment]], most: float, folder: Path | None, processes: int = 1
    ) -> None:
        self._processes, self._most, self._folder = processes, most / processes, folder or Path(tempfile.gettempdir())
        self._streams = [plain_views(one, processes) for one in streams]
        self._numbers = {experiment.stream(): number for number, one in enumerate(streams) for experiment in one}
        self._pool: Tensor | None = None
        self._room = float("inf")
        # Where the feature of a picture is, by the picture's number; and what is on its way there.
        self._place = np.empty(0, dtype=np.int32)
        self._starts: dict[object, tuple[int, int]] = {}
        self._taken = self._written = 0
        self._pending: list[tuple[int, Tensor, torch.cuda.Event | None]] = []

    def open(self, width: int, dtype: torch.dtype) -> bool:
        """Take the room, if it is not taken yet.

        Args:
            width: d, numbers of an embedding.
            dtype: in which the encoder gives them.

        Returns:
            Whether any features are kept at all.
        """
        if self._pool is None:
            size = torch.empty(0, dtype=dtype).element_size() * width
            wanted = size * features_kept(self._streams, self._most / size)
            if wanted > IN_MEMORY:
                self._most = room_on_disk(self._most, self._folder, self._processes)
            self._room = self._most / size
            count = features_kept(self._streams, self._room)
            # How many are different is random, but hardly ever by so much more.
            rows = int(min(self._room, count + 3 * count**0.5))
            self._pool = numbers_in_memory_or_file((rows, width), dtype, rows * size, self._folder)
            self._number_pictures()
        return len(self._pool) > 0

    def _number_pictures(self) -> None:
        shares, total = kept_shares(self._streams, self._room), 0
        for one in (each for stream in self._streams for each in stream if each and each.of in shares):
            if one.of not in self._starts:
                images = int(np.ceil(shares[one.of] * one.images))
                self._starts[one.of] = total, images
                total += images * one.each
        self._place = np.full(total, -1, dtype=np.int32)

    def numbers(self, shown: Sequence[Shown | None], drawn: Sequence[tuple[_Numbers, _Numbers]]) -> _Numbers:
        """The numbers of the pictures of n examples' plain views, int64 [n, columns]; -1 of what is not kept.

        Args:
            shown: of each group of views, what is drawn.
            drawn: of each group int64 [n, K], which of the store's images each view shows, and which of its pictures.
        """
        found = []
        for one, (images, which) in zip(shown, drawn, strict=True):
            numbers = np.full(images.shape, -1, dtype=np.int64)
            if one is not None and one.of in self._starts:
                start, most = self._starts[one.of]
                kept = images < most
                numbers[kept] = start + (images * one.each + which)[kept]
            found.append(numbers)
        return np.concatenate(found, axis=1)

    def of(self, numbers: _Numbers, pictures: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """The embeddings of some pictures, float32 [m, d] on their device.

        Args:
            numbers: int64 [m], as `numbers` gives them.
            pictures: float32 [m, C, R, R].
            encode: the encoder.
        """
        assert self._pool is not None
        places = np.where(numbers < 0, -1, self._place[numbers] if len(self._place) else -1)
        known = (places >= 0) & (places < self._written)
        absent = np.flatnonzero(~known)
        # One of each picture, in the order in which they come; what is not kept has a number of its own.
        asked = np.where(numbers[absent] < 0, -1 - absent, numbers[absent])
        _, first, which = np.unique(asked, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        chosen, which = absent[first[order]], rank[which.reshape(-1)]
        device = pictures.device
        old = moved(self._pool[torch.from_numpy(places[known].astype(np.int64))].float(), device)
        if not len(chosen):
            return old
        made = torch.cat([
            encode(pictures[moved(torch.from_numpy(chosen[start : start + _AT_ONCE]), device)]).float()
            for start in range(0, len(chosen), _AT_ONCE)
        ])  # fmt: skip
        found = made.new_empty(len(numbers), made.shape[1])
        found[moved(torch.from_numpy(absent), device)] = made[moved(torch.from_numpy(which), device)]
        found[moved(torch.from_numpy(np.flatnonzero(known)), device)] = old
        self._write()
        self._take(numbers[chosen], made)
        return found

    def _take(self, numbers: _Numbers, made: Tensor) -> None:
        """Give pictures that have none a place, as long as there is room, and keep their embeddings for `_write`."""
        assert self._pool is not None
        if not len(self._place):
            return
        new = np.flatnonzero((numbers >= 0) & (self._place[numbers.clip(0)] < 0))[: len(self._pool) - self._taken]
        if len(new):
            # First what may run out of memory: of a part that is then computed again nothing has been noted.
            taken = _on_its_way(made[moved(torch.from_numpy(new), made.device)].to(self._pool.dtype))
            self._place[numbers[new]] = np.arange(self._taken, self._taken + len(new), dtype=np.int32)
            self._pending.append((self._taken, *taken))
            self._taken += len(new)

    def _write(self) -> None:
        """Write what the last call took.

        It is done a call later, when the encoder has its next pictures, so that a GPU need not wait for the copy.
        """
        assert self._pool is not None
        for start, embeddings, arrived in self._pending:
            if arrived is not None:
                arrived.synchronize()
            self._pool[start : start + len(embeddings)] = embeddings
            self._written = start + len(embeddings)
        self._pending.clear()

    def encoded(self, stream: str, views: float, experiment: Experiment) -> float:
        """How many pictures a stream encodes, in expectation, with what earlier ones have left.

        Args:
            stream: which.
            views: different ones of an example.
            experiment: one of the stream's.
        """
        saved = views_saved(self._streams, self._room)[self._numbers[stream]]
        return examples_shown(experiment) * views - self._processes * saved

    def encoded_alone(self, experiment: Experiment, views: float) -> float:
        """How many pictures a run would encode if nothing else were trained; arguments as `encoded` has them."""
        (saved,) = views_saved([plain_views([experiment], self._processes)], self._room)
        return examples_shown(experiment) * views - self._processes * saved


def _on_its_way(tensor: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """A tensor in main memory, and what says that it has arrived there; None where it has."""
    if not tensor.is_cuda:
        return tensor.cpu(), None
    copied = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copied.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(tensor.device))
    return copied, arrived
