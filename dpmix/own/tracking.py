"""TensorBoard as a place that a training run writes its progress to, besides the screen.

Of a run for release it gets what the screen shows, and no more (`dpmix.own.following`).
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from dpmix.errors import DpmixError, ParamsError


class Tracker(Protocol):
    """Takes numbers by name."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Called with what is known after `step` steps."""
        ...

    def close(self) -> None:
        """Called once, when the run is done or was stopped."""
        ...


def refuse_absent() -> None:
    """Check that TensorBoard is installed.

    Raises:
        ParamsError: if it is not.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ParamsError("--tensorboard needs a package that is not installed; install it: pip install tensorboard")


class TensorBoard:
    """Writes numbers as TensorBoard's scalars.

    Args:
        folder: of this run, in one of TensorBoard's.

    Raises:
        DpmixError: if it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        try:
            self._writer = SummaryWriter(folder)
        except OSError as error:
            raise DpmixError(f"{folder} cannot be written ({error.strerror}); name another: --tensorboard") from error

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write what is known after `step` steps."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._writer.close()
