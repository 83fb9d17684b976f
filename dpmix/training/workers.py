"""One run on several processes: the sample is drawn once and split, sums are added up, noise is added once.

Started by torchrun; on one process every operation here is free. The result is that of one process, up to the order
in which float32 numbers are added.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpmix.errors import DpmixError


@dataclass(frozen=True)
class Workers:
    """This process and how many there are. Every method but `share` is collective: all processes call it alike."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process adds the noise and writes the files; exactly one does."""
        return self.rank == 0

    def share(self, units: np.ndarray) -> np.ndarray:
        """This process's part of a sample [m, ...]; parts differ in length by at most one and may be empty."""
        return units[self.rank :: self.count]

    def add(self, *tensors: Tensor) -> None:
        """Replace each tensor, which has one shape everywhere, by its sum over all processes."""
        if self.count > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def agree(self, tensor: Tensor) -> Tensor:
        """The leading process's tensor, everywhere."""
        if self.count > 1:
            tensor = tensor.contiguous()
            torch.distributed.broadcast(tensor, src=0)
        return tensor

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            torch.distributed.barrier()


ALONE = Workers()


@contextlib.contextmanager
def workers(device: str) -> Iterator[tuple[Workers, str]]:
    """The processes that torchrun started, talking over NCCL or Gloo, and this one's device; else this one alone.

    Raises:
        DpmixError: if there are more processes on this machine than GPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE, device
        return
    local = int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise DpmixError(
                f"torchrun started process {local + 1} on a machine with {torch.cuda.device_count()} GPUs; "
                "lower --nproc-per-node"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Workers(torch.distributed.get_rank(), count), device
    finally:
        torch.distributed.destroy_process_group()
