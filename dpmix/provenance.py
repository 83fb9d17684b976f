"""Versions and hardware that a result was made with."""

import platform
from importlib import metadata
from pathlib import Path

from dpmix import __version__


def versions(*more: str) -> dict[str, str]:
    """The versions of dpmix, torch and Python, by name.

    Args:
        more: further installed distributions, such as "jax".
    """
    import torch

    found = {"dpmix": __version__, "torch": torch.__version__.split("+")[0], "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in more}


def hardware() -> str:
    """The name of the GPU if there is one, else that of the processor with its number of cores."""
    import os

    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores"
