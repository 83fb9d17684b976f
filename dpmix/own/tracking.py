"""TensorBoard and MLflow as places that a training run writes its progress to, besides the screen.

Of a run for release they get what the screen shows, and no more (`dpmix.own.following`). Neither is locked with the
rest: MLflow depends on pre-releases, and who has either has a version of their own.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from dpmix.errors import DpmixError, ParamsError, one_line


class Tracker(Protocol):
    """Takes numbers by name."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Called with what is known after `step` steps."""
        ...

    def close(self) -> None:
        """Called once, when the run is done or was stopped."""
        ...


def refuse_absent(tensorboard: bool, mlflow: bool) -> None:
    """Check that the packages of what is asked for are installed.

    Raises:
        ParamsError: if one is not.
    """
    for package, wanted, name in (
        ("tensorboard", tensorboard, "tensorboard"),
        ("mlflow", mlflow, "mlflow-skinny"),
    ):
        if wanted and importlib.util.find_spec(package) is None:
            raise ParamsError(f"--{package} needs a package that is not installed; install it: pip install {name}")


def trackers(name: str, tensorboard: Path | None = None, mlflow: str | None = None) -> tuple[Tracker, ...]:
    """The trackers that are asked for.

    Args:
        name: what the run is called there.
        tensorboard: a folder of TensorBoard's, in which the run gets one of its own.
        mlflow: the URI of an MLflow server, or a folder.

    Raises:
        DpmixError: if they cannot be reached or written.
    """
    found: list[Tracker] = []
    if tensorboard is not None:
        found.append(_TensorBoard(tensorboard / name))
    if mlflow is not None:
        found.append(_MLflow(mlflow, name))
    return tuple(found)


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        try:
            self._writer = SummaryWriter(folder)
        except OSError as error:
            raise DpmixError(f"{folder} cannot be written ({error.strerror}); name another: --tensorboard") from error

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    def __init__(self, uri: str, name: str) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            self._client = MlflowClient(tracking_uri=uri)
            known = self._client.get_experiment_by_name("dpmix")
            experiment = known.experiment_id if known is not None else self._client.create_experiment("dpmix")
            self._run = self._client.create_run(experiment, run_name=name).info.run_id
        except (MlflowException, OSError) as error:
            raise DpmixError(f"MLflow at {uri}: {one_line(error, 200)}; correct --mlflow, or leave it out") from error

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run)
