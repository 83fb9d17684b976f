"""Trains one network from scratch: reads its inputs, trains it, and writes its run."""

from collections.abc import Sequence

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment
from dpmix.errors import ParamsError
from dpmix.execution import Execution
from dpmix.training.data import load_data
from dpmix.training.inputs import checkpoint_of, experiment_of, learning_rate, load_plan
from dpmix.training.outcome import write_run
from dpmix.training.scratch import train_from_scratch
from dpmix.training.workers import Workers


def train_network(wanted: Sequence[Artefact], scale: str, execution: Execution, workers: Workers) -> None:
    """Train the one run in `wanted`, and write it; see `dpmix.training.runner.Trainer`.

    Raises:
        ParamsError: for a learning-rate selection or a gradient record, which are made with encoders only.
    """
    experiment = experiment_of(wanted[0])
    if any(not isinstance(artefact, Experiment) for artefact in wanted):
        raise ParamsError(
            f"{experiment.model.name} is trained from scratch; give its learning rates in params.yaml as numbers, "
            "and record gradients (figure 2) with an encoder"
        )
    plan = load_plan(experiment, scale)
    numbered = experiment.model_copy(update={"learning_rate": learning_rate(experiment, scale)})
    checkpoint = checkpoint_of(experiment, scale, execution, numbered.key(), plan.to_json())
    data = load_data(experiment, scale)
    outcome = train_from_scratch(
        numbered,
        plan,
        data,
        device=execution.where(),
        physical_batch=execution.physical_batch,
        backend=execution.backend,
        block=execution.block,
        workers=workers,
        checkpoint=checkpoint,
        watcher=execution.watcher,
    )
    if workers.is_main:
        write_run(experiment, plan, outcome, scale, data.private.classes)
        if checkpoint:
            checkpoint.remove()
    workers.wait()
