"""The state of an unfinished run, so that a run that was killed goes on as if it had not been.

A checkpoint holds everything that the next step depends on: weights, velocity, averages, and the steps executed so
far. Random draws are functions of (seed, step, example), so no generator has a state to keep; a run for release draws
afresh, and what is kept of it is noisy already. One safetensors file, replaced by rename: a kill at any moment leaves
the old one or the new one.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dpmix.errors import DpmixError
from dpmix.execution import CHECKPOINT_SECONDS
from dpmix.files import atomic_file


class Checkpoint:
    """One file that is replaced every so often while a run lasts.

    Args:
        path: the file; its name stands for the run, so that no other run's state is ever taken for it.
        every_seconds: how often at most; what is lost to a kill.
    """

    def __init__(self, path: Path, every_seconds: float = CHECKPOINT_SECONDS) -> None:
        self.path, self.every_seconds = path, every_seconds
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self._saved >= self.every_seconds

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Replace the file: `tensors` by name, `values` as JSON."""
        from safetensors.torch import save_file

        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with atomic_file(self.path) as temporary:
            save_file(whole, temporary, metadata={"values": json.dumps(values)})
        self._saved = time.monotonic()

    def load(self, device: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was saved last, tensors on `device`; None if nothing was.

        Raises:
            DpmixError: if the file is damaged.
        """
        if not self.path.exists():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt", device=device) as file:
                values = json.loads(file.metadata()["values"])
                return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise DpmixError(f"{self.path} is damaged ({error}); delete it, and the run starts afresh") from error

    def remove(self) -> None:
        """When the run's result is on disk. What kills in the middle of a write left beside it goes too."""
        for leftover in self.path.parent.glob(f".{self.path.stem}-*{self.path.suffix}"):
            leftover.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
