"""One run on several processes, started by torchrun: the sample is drawn once and split, noise is added once.

What is added up in whole numbers, as a network's sums are (`dpmix.training.learner.ExactSums`), is that of one process
to the last bit; float32 sums are up to the order of additions. With one process, these operations do nothing.
"""

import atexit
import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpmix.errors import DpmixError


@dataclass(frozen=True)
class Workers:
    """This process's number and how many processes there are.

    Every method but `shard` is collective: all processes must call it, in the same order.

    Attributes:
        rank: this process, from 0.
        count: of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process adds the noise and writes the files; exactly one does."""
        return self.rank == 0

    def shard(self, units: np.ndarray, block: int = 1) -> np.ndarray:
        """This process's part of a sample [m, ...]: every so many blocks of `block` consecutive units.

        Parts differ in length by one block at most, and may be empty. Blocks are the same for any number of processes.
        """
        return units[np.arange(len(units)) // block % self.count == self.rank]

    def all_reduce(self, *tensors: Tensor) -> None:
        """Replace each tensor, in place, by its sum over all processes; shapes agree everywhere."""
        if self.count > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def broadcast(self, tensor: Tensor) -> Tensor:
        """The main process's tensor, on every process. The others pass a tensor of the same shape."""
        if self.count > 1:
            tensor = tensor.contiguous()
            torch.distributed.broadcast(tensor, src=0)
        return tensor

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            torch.distributed.barrier()


ALONE = Workers()


def workers(device: str) -> tuple[Workers, str]:
    """The processes that torchrun started and this one's device; without torchrun, this process alone.

    They communicate by NCCL on GPUs and by Gloo elsewhere. The process group is made at the first call and kept until
    the process ends, because a second one would use the same address and fail.

    Args:
        device: `cuda`, where each process takes a GPU of its own, or another device.

    Raises:
        DpmixError: if there are more processes on this machine than GPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return ALONE, device
    local = int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise DpmixError(
                f"torchrun started process {local + 1} on a machine with {torch.cuda.device_count()} GPUs; "
                "lower --nproc-per-node"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        atexit.register(torch.distributed.destroy_process_group)
    return Workers(torch.distributed.get_rank(), count), device
