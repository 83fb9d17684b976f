"""Physical batches: a logical batch in parts that fit in memory, halved when it runs out, each counted exactly once."""

import gc
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch

from dpmix.errors import DpmixError

Part = TypeVar("Part")

_LOG = logging.getLogger(__name__)

# Words in the error messages of allocators: torch's on CPUs and on Apple's GPUs, the C++ library's, cuBLAS's, cuDNN's.
_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device.

    >>> is_out_of_memory(RuntimeError("CUDA error: out of memory")), is_out_of_memory(RuntimeError("shape mismatch"))
    (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


class PhysicalBatches:
    """Cuts a logical batch (the sample of one step) into physical batches, and halves these when memory runs out.

    The part for which memory ran out is computed again in smaller parts; parts before it are not. The smaller size is
    kept for the rest of the run.

    Args:
        size: units (examples or microbatches) in a physical batch at first; of a network, those of a block.

    Attributes:
        size: the current size.

    Raises:
        ValueError: if the size is not positive.

    >>> batches = PhysicalBatches(2)
    >>> list(batches.run(np.array([5, 6, 7]), lambda part: int(part.sum())))
    [11, 7]
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a physical batch holds at least one unit, not {size}")
        self.size = size

    def run(self, units: np.ndarray, compute: Callable[[np.ndarray], Part]) -> Iterator[Part]:
        """Yield `compute(part)` for consecutive parts of a logical batch; nothing for an empty batch.

        Args:
            units: [sampled, ...], the logical batch.
            compute: takes at most `size` of the units and returns what the caller adds up. It must not change anything
                else, because it is called again for a part for which memory ran out.

        Raises:
            DpmixError: if a single unit does not fit into memory.
        """
        done = 0
        while done < len(units):
            part = units[done : done + self.size]
            finished = self._attempt(part, compute)
            if finished:
                done += len(part)
                # `pop` drops this function's reference, so that memory is free before the next part is computed.
                yield finished.pop()

    def _attempt(self, part: np.ndarray, compute: Callable[[np.ndarray], Part]) -> list[Part]:
        """The part's value in a list; an empty list if memory ran out."""
        try:
            return [compute(part)]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(part) == 1:
                what = str(error).strip().splitlines()
                raise DpmixError(
                    "out of memory with one example at a time; use fewer views or a lower resolution, "
                    f"precision: bfloat16, or a device with more memory ({what[0] if what else type(error).__name__})"
                ) from error
        # Memory can be freed only here, after the exception and the tensors in its traceback are gone. The message
        # gives the job's batch size and not the part's, which could tell how many records of a release were sampled.
        smaller = max(1, self.size // 2)
        _LOG.warning("out of memory in physical batches of %d; going on with %d", self.size, smaller)
        self.size = smaller
        _free()
        return []


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def physical_batches(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Consecutive parts of `indices`, each of at most `size`; none where there are no indices."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
