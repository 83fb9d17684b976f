"""What a training job reads besides images, and where it keeps its state: learning rate, plan, checkpoint."""

from pathlib import Path

from dpmix.artefacts.base import Artefact, digest
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.errors import ParamsError, PrivacyError
from dpmix.execution import Execution
from dpmix.files import read_json
from dpmix.privacy.plan import Plan
from dpmix.training.checkpoint import Checkpoint


def experiment_of(artefact: Artefact) -> Experiment:
    """What is trained for an artefact: itself, or what it is a choice for or a record of.

    Raises:
        ParamsError: for an artefact that training does not make.
    """
    if isinstance(artefact, Experiment):
        return artefact
    if isinstance(artefact, Selection | GradientRecord):
        return artefact.experiment
    raise ParamsError(f"{type(artefact).__name__} is not something that training makes")


def learning_rate(experiment: Experiment, scale: str) -> float:
    """The number itself, or the one that its selection chose: the same lr·C, should C be another than there."""
    rate = experiment.learning_rate
    if isinstance(rate, Selection):
        chosen = float(read_json(rate.path(scale))["learning_rate"])
        return chosen * (rate.experiment.clip_norm / experiment.clip_norm)
    if rate is None:
        raise ParamsError(f"{experiment.method} on {experiment.dataset.name} has no learning rate")
    return rate


def load_plan(experiment: Experiment, scale: str) -> Plan:
    """The plan of an experiment: the one in its file, which is a claim until it is compared and computed again.

    Raises:
        ParamsError: if the file's plan is not of this experiment.
        PrivacyError: if it does not meet its ε.
    """
    from dpmix.privacy.banded_plan import plan_from_json

    spec = experiment.plan()
    path = spec.path(scale)
    plan = plan_from_json(read_json(path))
    if difference := spec.difference(plan):
        raise ParamsError(f"{path} is not the plan of this run: {difference}; delete it and make it again")
    try:
        plan.check()
    except PrivacyError as error:
        raise PrivacyError(f"{path}: {error}; delete it and make it again") from error
    return plan


def checkpoint_of(experiment: Experiment, scale: str, execution: Execution, *identity: object) -> Checkpoint | None:
    """The file of one unfinished run or stream, named by everything that determines its state.

    None for a release with banded noise: what its noise depends on would have to be on disk, where it must not be.
    """
    if experiment.release and experiment.bands > 1:
        return None
    name = f"{experiment.dataset.name}-{experiment.model.name}-{experiment.method}"
    path = Path("results", scale, "checkpoints", f"{name}-{digest(identity)}.safetensors")
    return Checkpoint(path, execution.checkpoint_seconds)
