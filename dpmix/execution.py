"""How work is executed: device, batch sizes, precision. None of it is part of a hash."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar

from dpmix.errors import ParamsError, one_line

if TYPE_CHECKING:
    from dpmix.params.scales import Bundling
    from dpmix.training.kept_crops import KeptCrops

Precision = Literal["auto", "float32", "bfloat16", "float16"]

CHECKPOINT_SECONDS = 300.0

# What features of views may take, and up to where that is memory; what is more goes into a file.
KEPT_BYTES, IN_MEMORY = 16e9, 256e6

Result = TypeVar("Result")


class Watcher(Protocol):
    """Follows a training run step by step, and shows its progress in place of the usual bar.

    A run for release tells it of steps alone: all else that could be told has no noise, or reads the test images.
    """

    def step(self, step: int, steps: int) -> None:
        """Called before step `step`, from 0, of `steps` is executed. An error raised here ends the run before it."""
        ...

    def restored(self, step: int) -> None:
        """Called if a checkpoint was read, of which `step` is the next step. An error raised here refuses it."""
        ...

    def saved(self, step: int) -> None:
        """Called once a checkpoint is on disk, of which `step` is the next step."""
        ...

    def epoch(self, epoch: int, accuracies: Sequence[float]) -> None:
        """Called after an epoch, from 1, of a run that is not for release, with each model's accuracy in per cent."""
        ...


@dataclass(frozen=True)
class Execution:
    """How artefacts are made. None of it is part of what a result means, and each step is the same up to rounding.

    Training makes rounding grow: from scratch a run with another device, backend, block or number of threads is another
    model, of the same quality. `metrics.json` says what was executed.

    Attributes:
        device: where networks are, such as "cuda:1"; None is the first GPU if there is one, else the CPU.
        physical_batch: examples that go through an encoder together, and on a GPU through a network from scratch.
        backend: of `dpmix.privacy.clipping.clipped_sum`, for networks trained from scratch.
        threads: of the processor; None is what torch chooses.
        checkpoint_seconds: time between two checkpoints of an unfinished run; infinite for none.
        encoder_precision: of a frozen encoder's forward pass; `auto` is float32 on the CPU and half precision on a GPU.
        watcher: follows training runs, in place of a progress bar; None shows the bar.
        block: units whose gradients are computed in one pass through a network from scratch; None is the physical batch
            on a GPU, and on a processor a number that follows from the network.
        compile_encoder: whether `torch.compile` makes kernels for encoders, which takes a minute each; on a GPU only.
        remembered: images whose features a process keeps, see `dpmix.models.remembered`; 0 for none.
        kept_bytes: what features of views that come again may take, see `dpmix.training.kept_views` and `kept_crops`;
            0 keeps none.
        crops: the features that the streams of one job share, which `dpmix.training.runner` sets.
    """

    device: str | None = None
    physical_batch: int = 64
    backend: str = "auto"
    threads: int | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    encoder_precision: Precision = "auto"
    compile_encoder: bool = False
    block: int | None = None
    remembered: int = 0
    kept_bytes: float = KEPT_BYTES
    watcher: Watcher | None = field(default=None, compare=False)
    crops: "KeptCrops | None" = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, bundle: "Bundling", **changes: Any) -> Self:
        """The execution that a scale's `bundle` describes, with changes by attribute; None changes nothing."""
        said = cls(
            physical_batch=bundle.physical_batch,
            encoder_precision=bundle.encoder_precision,
            compile_encoder=bundle.compile_encoder,
            remembered=bundle.remembered,
            kept_bytes=1e9 * bundle.kept_gigabytes,
        )
        return replace(said, **{name: value for name, value in changes.items() if value is not None})

    def where(self) -> str:
        """The device, or the default one if `device` is None."""
        return self.device or default_device()


DEFAULT = Execution()


def default_device() -> str:
    """The first CUDA device if there is one, else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def usable_device(device: str | None = None) -> str:
    """A device's name, or the default one's, once a number was laid there and read back.

    Args:
        device: torch's name of it, such as `cuda:0`.

    Raises:
        ParamsError: if nothing can be computed there.
    """
    import torch

    if device is None:
        return default_device()
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ParamsError(
            f"nothing can be computed on device {device!r} here ({one_line(error, 200)}); choose `device='cpu'`, or "
            "leave it out for a GPU if there is one"
        ) from error
    return device


_AHEAD = 256


def on_all_cores(one: Callable[[int], Result], indices: Sequence[int]) -> Iterator[Result]:
    """What a function returns for each index, in order, computed ahead by threads, some hundreds at a time.

    It is for work that releases the interpreter's lock, such as decoding images and hashing.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(max_workers=min(cores, 16)) as workers:
        for start in range(0, len(indices), _AHEAD):
            yield from workers.map(one, indices[start : start + _AHEAD])


# `mallopt`'s names for its numbers, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, for what it needs next.

    A forward pass frees and asks again for blocks of many megabytes, which glibc's allocator hands back to Linux each
    time; getting them again, page by page, cost a third to two thirds of an encoder's time (`benchmarks/memory.py`).

    Returns:
        Whether that was done: only glibc can be told.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
