"""What a training job needs besides images: its learning rate, its plan, and the place of its checkpoint."""

import math
from pathlib import Path

from dpmix.artefacts.base import Artefact, digest
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.errors import DataError, ParamsError, PrivacyError
from dpmix.execution import Execution
from dpmix.params.registries import CLIPPING_MODES, registered
from dpmix.params.settings import RunSettings
from dpmix.privacy.modes import Clipping
from dpmix.privacy.plan import Plan
from dpmix.seals import AGAIN, read_record
from dpmix.training.checkpoint import Checkpoint


def experiment_of(artefact: Artefact) -> Experiment:
    """The experiment that is trained to make an artefact: a run itself, or that of a selection or gradient record.

    Raises:
        ParamsError: for an artefact that training does not make.
    """
    if isinstance(artefact, Experiment):
        return artefact
    if isinstance(artefact, Selection | GradientRecord):
        return artefact.experiment
    raise ParamsError(
        f"{type(artefact).__name__} is not something that training makes; give an Experiment, or what is made by one"
    )


def learning_rate(experiment: Experiment, scale: str) -> float:
    """The learning rate of a run: the number in the params, or the one that its selection chose.

    If the selection was made with another clip norm, the rate is scaled so that lr·C stays the same.

    Raises:
        ParamsError: if the run has no learning rate.
        DpmixError: if the selection has not been made.
    """
    rate = experiment.learning_rate
    if isinstance(rate, Selection):
        chosen = _chosen(rate.path(scale))
        return chosen * (rate.experiment.clip_norm / experiment.clip_norm)
    if rate is None:
        raise ParamsError(
            f"{experiment.method} on {experiment.dataset.name} has no learning rate; give it one: learning_rate"
        )
    return rate


def clipping_mode(experiment: Experiment) -> Clipping:
    """The clipping mode of a run, with those of the run's settings that it has a field for."""
    kind = registered(CLIPPING_MODES, experiment.clipping)
    taken = getattr(kind, "__dataclass_fields__", {}).keys() & RunSettings.model_fields.keys()
    mode: Clipping = kind(**{name: getattr(experiment, name) for name in taken})
    return mode


def _chosen(path: Path) -> float:
    said = read_record(path)["learning_rate"]
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said < math.inf:
        raise DataError(f"{path} has {said!r} as the learning rate, which is none; {AGAIN}")
    return float(said)


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        DataError: if the file is missing, damaged or was changed, or does not hold a plan.
    """
    from dpmix.privacy.plan_json import plan_from_json

    values = read_record(path)
    try:
        return plan_from_json(values)
    except ParamsError as error:
        raise DataError(f"{path} holds no plan ({str(error).partition(';')[0]}); {AGAIN}") from error


def load_plan(experiment: Experiment, scale: str) -> Plan:
    """Read the plan of an experiment from its file, and check it: files can be old, or edited by hand.

    Raises:
        DpmixError: if there is no such file.
        ParamsError: if the plan has another target than the experiment.
        PrivacyError: if its ε, computed again, exceeds the target.
    """
    spec = experiment.plan()
    path = spec.path(scale)
    plan = read_plan(path)
    if difference := spec.difference(plan):
        raise ParamsError(f"{path} is not the plan of this run: {difference}; delete it and make it again")
    try:
        plan.check()
    except PrivacyError as error:
        raise PrivacyError(f"{path} must not be used ({error}); delete it and make it again") from error
    return plan


def checkpoint_of(experiment: Experiment, scale: str, execution: Execution, *identity: object) -> Checkpoint | None:
    """The checkpoint of one unfinished run or stream.

    Args:
        experiment: the run, or one of the stream.
        scale: the name of the scale.
        execution: how often a checkpoint is written.
        identity: values for JSON; everything that determines the state. The file's name is a hash of them.

    Returns:
        None for a release with banded noise: noise of later steps depends on that of earlier ones, which would have to
        be stored, and whoever reads it could remove the noise.
    """
    if experiment.release and experiment.bands > 1:
        return None
    name = f"{experiment.dataset.name}-{experiment.model.name}-{experiment.method}"
    path = Path("results", scale, "checkpoints", f"{name}-{digest(identity)}.safetensors")
    return Checkpoint(path, execution.checkpoint_seconds)
