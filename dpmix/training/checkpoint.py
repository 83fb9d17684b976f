"""The state of an unfinished run, so that a run that was killed continues and ends as if it had not been.

A checkpoint holds everything that the next step depends on: weights, momentum buffers, averages, and the ledger of
executed steps. It holds no state of a random generator: draws are functions of (seed, step, example), and a run for
release takes new random numbers from the operating system. Everything in a release's checkpoint has noise already or is
public. The file is in safetensors format and replaced by renaming, so that a kill at any moment leaves the old or the
new.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dpmix.errors import DataError, DpmixError, one_line
from dpmix.execution import CHECKPOINT_SECONDS
from dpmix.seals import check_tensors, save_tensors

_AFRESH = "delete it, and the run starts afresh"


class Checkpoint:
    """The checkpoint file of one run.

    Args:
        path: the file. Its name must depend on everything that determines the run, so that no run reads another's.
        every_seconds: the time between two checkpoints, and so the most work that a kill can lose.
    """

    def __init__(self, path: Path, every_seconds: float = CHECKPOINT_SECONDS) -> None:
        self.path, self.every_seconds = path, every_seconds
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether `every_seconds` have passed since the last checkpoint."""
        return time.monotonic() - self._saved >= self.every_seconds

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Replace the file by one with these tensors, and these values as JSON."""
        save_tensors(self.path, tensors, {"values": json.dumps(values)})
        self._saved = time.monotonic()

    def load(self, device: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The tensors, on `device`, and values that were saved last; None if there is no checkpoint.

        Raises:
            DataError: if the file is damaged, or was changed.
        """
        if not self.path.exists():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt", device=device) as file:
                said = file.metadata() or {}
                check_tensors(self.path, said, _AFRESH)
                values = json.loads(said["values"])
                return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118
        except DpmixError:
            raise
        # What says nothing in UTF-8 is a UnicodeDecodeError, and a tensor of an impossible shape a RuntimeError.
        except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
            reason = "it is a folder" if self.path.is_dir() else one_line(error, 100)
            raise DataError(f"{self.path} is damaged ({reason}); {_AFRESH}") from error

    def remove(self) -> None:
        """Delete the checkpoint, once the run's result is on disk, and any partly written one that a kill left."""
        for leftover in self.path.parent.glob(f".{self.path.stem}-*{self.path.suffix}"):
            leftover.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def put_back(value: Tensor, saved: Tensor) -> None:
    """Copy what a checkpoint kept into a tensor of the run.

    Raises:
        ValueError: if its shape is another, which a copy would stretch.
    """
    if value.shape != saved.shape:
        raise ValueError(f"a tensor of {list(saved.shape)} is in the place of one of {list(value.shape)}")
    value.copy_(saved)
