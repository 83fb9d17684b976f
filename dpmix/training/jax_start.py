"""Starts JAX beside torch: with as many threads, and without taking a GPU's memory in advance."""

import os
import sys
from typing import Any

from dpmix.errors import ParamsError


def start(device: str) -> Any:
    """The JAX device that computes for tensors on a torch device. The first call in a process starts JAX.

    A JAX that is already in use stays as it is set up. Variables of the environment that are set are left alone.

    Args:
        device: torch's name of it, such as "cpu" or "cuda:1". Where JAX has no GPU (the lock holds JAX for processors),
            the processor computes, and one line on stderr says so.

    Raises:
        ParamsError: if jax-privacy is not installed.
    """
    import torch

    on_gpu = torch.device(device).type == "cuda"
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else three quarters of a GPU's memory
    if not on_gpu:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        import jax
        import jax_privacy  # noqa: F401
    except ImportError as error:
        raise ParamsError(
            f"engine: jax needs jax-privacy, which is not installed here ({error}); install it with make install, or "
            "pip install 'jax-privacy>=2,<3', or set engine: torch"
        ) from error
    if on_gpu:
        try:
            return jax.devices("gpu")[torch.device(device).index or 0]
        except RuntimeError:
            print(
                "JAX has no GPU here, so that the processor computes; for a GPU install jax[cuda13]",
                file=sys.stderr,
                flush=True,
            )
    # XLA reads the size of its pool of threads from this variable, once, when its first device is made.
    threads = os.environ.get("NPROC")
    os.environ["NPROC"] = threads or str(torch.get_num_threads())
    try:
        return jax.devices("cpu")[0]
    finally:
        if threads is None:
            del os.environ["NPROC"]
