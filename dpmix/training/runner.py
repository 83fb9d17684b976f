"""One job: some runs, learning-rate selections and gradient records, grouped by the stream that they share."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dpmix.errors import ParamsError, PrivacyError
from dpmix.experiment import Artefact, EncoderModel, Experiment, GradientRecord, Selection, digest
from dpmix.files import read_json, write_json
from dpmix.params import EncoderSpec
from dpmix.privacy.plan import Plan
from dpmix.training.checkpoint import EVERY_SECONDS, Checkpoint
from dpmix.training.data import load_data
from dpmix.training.outcome import Outcome, write_magnitudes, write_run
from dpmix.training.workers import Workers, workers


def default_device() -> str:
    """The first CUDA device if there is one, else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Execution:
    """How a job is executed. None of it changes a step beyond rounding.

    Attributes:
        device: where the networks live; by default the first GPU if there is one.
        physical_batch: examples that go through the network together.
        backend: of `dpmix.privacy.clipping.clipped_sum`, for networks trained from scratch.
        checkpoint_seconds: how often an unfinished run's state is kept; infinite for never.
    """

    device: str | None = None
    physical_batch: int = 64
    backend: str = "auto"
    checkpoint_seconds: float = EVERY_SECONDS


def make(artefacts: Sequence[Artefact], scale: str, execution: Execution = Execution()) -> None:
    """Train whatever these artefacts need and write them, each whole or not at all.

    Finished runs of the job are on disk before the next stream starts, and a stream that was killed is taken up where
    its last checkpoint was. Under torchrun the processes share each run.

    Raises:
        DpmixError: if an input is missing or damaged, or a run would exceed its ε.
    """
    scratch: dict[str, list[Artefact]] = defaultdict(list)
    streams: dict[str, list[Artefact]] = defaultdict(list)
    for artefact in artefacts:
        experiment = _experiment(artefact)
        if isinstance(experiment.model, EncoderSpec):
            streams[experiment.stream()].append(artefact)
        else:
            scratch[experiment.hash].append(artefact)
    with workers(execution.device or default_device()) as (these, device):
        execution = replace(execution, device=device)
        for wanted in scratch.values():
            _make_scratch(wanted, scale, execution, these)
        for wanted in streams.values():
            _make_stream(wanted, scale, execution, these)


def _experiment(artefact: Artefact) -> Experiment:
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


def _plan(experiment: Experiment, scale: str) -> Plan:
    """The plan of an experiment: the one in its file, which is a claim until it is compared and computed again.

    Raises:
        ParamsError: if the file's plan is not of this experiment.
        PrivacyError: if it does not meet its ε.
    """
    from dpmix.privacy.matrix_factorization import plan_from_json

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


def _checkpoint(experiment: Experiment, scale: str, execution: Execution, *identity: object) -> Checkpoint | None:
    """The file of one unfinished run or stream, named by everything that determines its state.

    None for a release with banded noise: what its noise depends on would have to be on disk, where it must not be.
    """
    if experiment.release and experiment.bands > 1:
        return None
    name = f"{experiment.dataset.name}-{experiment.model.name}-{experiment.method}"
    path = Path("results", scale, "checkpoints", f"{name}-{digest(identity)}.safetensors")
    return Checkpoint(path, execution.checkpoint_seconds)


def _make_scratch(wanted: Sequence[Artefact], scale: str, execution: Execution, workers: Workers) -> None:
    from dpmix.training.scratch import train_from_scratch

    experiment = _experiment(wanted[0])
    if any(not isinstance(artefact, Experiment) for artefact in wanted):
        raise ParamsError(
            f"{experiment.model.name} is trained from scratch: give its learning rates in params.yaml as numbers, "
            "and record gradients (figure 2) with an encoder"
        )
    plan = _plan(experiment, scale)
    numbered = experiment.model_copy(update={"learning_rate": learning_rate(experiment, scale)})
    checkpoint = _checkpoint(experiment, scale, execution, numbered.key(), plan.to_json())
    data = load_data(experiment, scale)
    outcome = train_from_scratch(
        numbered,
        plan,
        data,
        device=execution.device or "cpu",
        physical_batch=execution.physical_batch,
        backend=execution.backend,
        workers=workers,
        checkpoint=checkpoint,
    )
    if workers.leads:
        write_run(experiment, plan, outcome, scale, data.private.classes)
        if checkpoint:
            checkpoint.remove()
    workers.wait()


def _make_stream(wanted: Sequence[Artefact], scale: str, execution: Execution, workers: Workers) -> None:
    from dpmix.models.encoders import shared_encoder
    from dpmix.training.head import Featurizer, Head, train_heads

    first, device = _experiment(wanted[0]), execution.device or "cpu"
    data = load_data(first, scale)
    encode = shared_encoder(EncoderModel(encoder=first.model).path(scale).parent, device)
    featurize = Featurizer(encode)
    if isinstance(first.model, EncoderSpec) and first.model.standardize == "public":
        assert data.public is not None
        featurize = Featurizer.standardized(encode, data.public, device)
    rates = {
        artefact.hash: artefact.learning_rates
        if isinstance(artefact, Selection)
        else (learning_rate(_experiment(artefact), scale),)
        for artefact in wanted
    }
    heads: dict[tuple[Experiment, float], Head] = {}
    for artefact in wanted:
        experiment = _experiment(artefact)
        for rate in rates[artefact.hash]:
            plan = _plan(experiment, scale)
            key = (experiment, rate)
            # Candidates that are compared share their noise, to differ by rate alone.
            name = f"ε={experiment.epsilon:g} C={experiment.clip_norm:g}"
            recording = isinstance(artefact, GradientRecord) or (key in heads and heads[key].record_magnitudes)
            heads[key] = Head(
                plan,
                rate,
                name,
                experiment.momentum,
                experiment.weight_decay,
                recording,
            )
    identity = [{**asdict(head), "plan": head.plan.to_json()} for head in heads.values()]
    checkpoint = _checkpoint(first, scale, execution, first.stream(), identity)
    trained = train_heads(
        first,
        list(heads.values()),
        data,
        featurize,
        device=device,
        physical_batch=execution.physical_batch,
        workers=workers,
        checkpoint=checkpoint,
    )
    if workers.leads:
        _write_stream(wanted, rates, dict(zip(heads, trained, strict=True)), scale, data.private.classes)
        if checkpoint:
            checkpoint.remove()
    workers.wait()


def _write_stream(
    wanted: Sequence[Artefact],
    rates: Mapping[str, Sequence[float]],
    outcomes: Mapping[tuple[Experiment, float], Outcome],
    scale: str,
    classes: Sequence[str],
) -> None:
    for artefact in wanted:
        experiment = _experiment(artefact)
        chosen = [outcomes[(experiment, rate)] for rate in rates[artefact.hash]]
        if isinstance(artefact, Selection):
            _write_selection(artefact, chosen, scale)
        elif isinstance(artefact, GradientRecord):
            write_magnitudes(artefact.path(scale), experiment, _plan(experiment, scale), chosen[0])
        else:
            write_run(experiment, _plan(experiment, scale), chosen[0], scale, classes)


def _write_selection(selection: Selection, outcomes: Sequence[Outcome], scale: str) -> None:
    """The learning rate with the best held-out accuracy after the last epoch; of equals, the smallest."""
    best = max(outcomes, key=lambda outcome: (outcome.accuracy, -outcome.learning_rate))
    write_json(
        selection.path(scale),
        {
            "learning_rate": best.learning_rate,
            "held_out": selection.experiment.held_out_size,
            "accuracy_by_learning_rate": {f"{o.learning_rate:g}": o.accuracy for o in outcomes},
        },
    )
