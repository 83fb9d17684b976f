"""TensorBoard as a place that a training run writes its progress to, besides the screen.

Of a run for release it gets what the screen shows, and no more (`dpmix.own.training.following`).
"""

import importlib.util
import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dpmix.errors import DpmixError, ParamsError
from dpmix.own.model.handed_out import date_to_the_day, day

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event


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
        raise ParamsError("`tensorboard` needs a package that is not installed; install it: pip install tensorboard")


class TensorBoard:
    """Writes numbers as TensorBoard's scalars.

    torch's `SummaryWriter` would write the time of every number in µs, and host and time into the file's name. How long
    a step takes depends on who was sampled, so files of a release have the day instead.

    Args:
        folder: of this run, in one of TensorBoard's.
        timed: whether numbers have the time at which they were known, as of research; else all have the day, UTC.

    Raises:
        DpmixError: if it cannot be written.
    """

    def __init__(self, folder: Path, *, timed: bool) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._clock = time.time if timed else day
        self._timed = timed
        try:
            folder.mkdir(parents=True, exist_ok=True)
            names = (f"events.out.tfevents.{self._clock():010.0f}.{number}" for number in itertools.count())
            self._path = next(path for name in names if not (path := folder / name).exists())
            self._writer = RecordWriter(self._path.open("xb"))
            self._write(Event(wall_time=self._clock(), file_version="brain.Event:2"))
        except OSError as error:
            raise DpmixError(f"{folder} cannot be written ({error.strerror}); name another: `tensorboard`") from error

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write what is known after `step` steps."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        for name, value in values.items():
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            self._write(Event(wall_time=self._clock(), step=step, summary=summary))

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._writer.close()
        if not self._timed:
            date_to_the_day(self._path, self._path.parent)

    def _write(self, event: "Event") -> None:
        self._writer.write(event.SerializeToString())
        self._writer.flush()  # TensorBoard reads along
