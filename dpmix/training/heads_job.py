"""Trains one stream: the heads of all runs, learning-rate selections and gradient records with the same samples."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import EncoderModel
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.made_of import inputs_of
from dpmix.execution import Execution
from dpmix.models.features import Featurizer
from dpmix.params.models import EncoderSpec
from dpmix.seals import write_record
from dpmix.training.data import TrainingData, load_sharing
from dpmix.training.heads import Head, Method, train_methods
from dpmix.training.inputs import checkpoint_of, clipping_mode, experiment_of, learning_rate, load_plan
from dpmix.training.outcome import Outcome, write_magnitudes, write_run
from dpmix.training.workers import Workers

# A head is determined by an experiment and a learning rate.
_Key = tuple[Experiment, float]


def train_stream(wanted: Sequence[Artefact], scale: str, execution: Execution, workers: Workers) -> None:
    """Train the heads that these artefacts need, on the union of their methods' views, and write the artefacts.

    A run or a gradient record needs one head, a selection one for each candidate; equal heads are trained once. See
    `dpmix.training.runner.Trainer`.
    """
    first, device = experiment_of(wanted[0]), execution.where()
    rates = {
        artefact.hash: artefact.learning_rates
        if isinstance(artefact, Selection)
        else (learning_rate(experiment_of(artefact), scale),)
        for artefact in wanted
    }
    heads: dict[_Key, Head] = {}
    for artefact in wanted:
        experiment = experiment_of(artefact)
        plan = load_plan(experiment, scale)
        for rate in rates[artefact.hash]:
            key = (experiment, rate)
            # Without the rate in the name, candidates for one learning rate get the same noise.
            name = f"ε={experiment.epsilon:g} C={experiment.clip_norm:g}"
            recording = isinstance(artefact, GradientRecord) or (key in heads and heads[key].record_magnitudes)
            heads[key] = Head(plan, rate, name, experiment.momentum, experiment.weight_decay, recording)
    groups: dict[Any, list[_Key]] = {}
    for key in heads:
        groups.setdefault(_method_of(key[0]), []).append(key)
    methods = [
        Method(keys[0][0], data, [heads[key] for key in keys])
        for keys, data in zip(
            groups.values(), load_sharing([keys[0][0] for keys in groups.values()], scale), strict=True
        )
    ]
    keys = [key for group in groups.values() for key in group]
    identity = [
        {"run": experiment.hash, **asdict(heads[experiment, rate]), "plan": heads[experiment, rate].plan.to_json()}
        for experiment, rate in keys
    ]
    checkpoint = checkpoint_of(first, scale, execution, first.stream(), identity)
    trained = train_methods(
        methods,
        featurizer(first, methods[0].data, scale, execution),
        device=device,
        physical_batch=execution.physical_batch,
        workers=workers,
        checkpoint=checkpoint,
        watcher=execution.watcher,
        kept_bytes=execution.kept_bytes,
        folder=checkpoint.path.parent if checkpoint else None,
        crops=execution.crops,
    )
    if workers.is_main:
        _write(wanted, rates, dict(zip(keys, trained, strict=True)), scale, methods[0].data.private.classes)
        if checkpoint:
            checkpoint.remove()
    workers.wait()


def _method_of(experiment: Experiment) -> Any:
    """What heads have in common that are trained on the same features: views, clipping, and initial weights."""
    start = (experiment.pretrain_epochs, experiment.synthetic if experiment.pretrain_epochs else None)
    return experiment.wanted_views(), clipping_mode(experiment), start


def featurizer(experiment: Experiment, data: TrainingData, scale: str, execution: Execution) -> Featurizer:
    """What a run's heads see: its frozen encoder, which must exist, with features standardised as its spec says.

    Args:
        experiment: the run.
        data: its images.
        scale: the name of the scale.
        execution: how to compute.
    """
    from dpmix.models.encoder_files import shared_encoder
    from dpmix.models.remembered import remembered

    assert isinstance(experiment.model, EncoderSpec)
    encoder = shared_encoder(EncoderModel(encoder=experiment.model).path(scale).parent, execution)
    # A released model's features owe nothing, not even their rounding, to what another run was shown.
    keeps = execution.remembered and not experiment.release and encoder.device.type == "cpu"
    encode = remembered(encoder, execution.remembered) if keeps else encoder
    if experiment.model.standardize == "encoder":
        return Featurizer.standardized_by_photographs(encode)
    if experiment.model.standardize == "public":
        assert data.public is not None
        return Featurizer.standardized(encode, data.public, execution.where())
    return Featurizer(encode)


def _write(
    wanted: Sequence[Artefact],
    rates: Mapping[str, Sequence[float]],
    outcomes: Mapping[_Key, Outcome],
    scale: str,
    classes: Sequence[str],
) -> None:
    for artefact in wanted:
        experiment = experiment_of(artefact)
        chosen = [outcomes[(experiment, rate)] for rate in rates[artefact.hash]]
        if isinstance(artefact, Selection):
            _write_selection(artefact, chosen, scale)
        elif isinstance(artefact, GradientRecord):
            write_magnitudes(artefact.path(scale), experiment, load_plan(experiment, scale), chosen[0])
        else:
            write_run(experiment, load_plan(experiment, scale), chosen[0], scale, classes)


def _write_selection(selection: Selection, outcomes: Sequence[Outcome], scale: str) -> None:
    """The learning rate with the best held-out accuracy after the last epoch; of equals, the smallest."""
    best = max(outcomes, key=lambda outcome: (outcome.accuracy, -outcome.learning_rate))
    write_record(
        selection.path(scale),
        {
            "learning_rate": best.learning_rate,
            "held_out": selection.experiment.held_out_size,
            "accuracy_by_learning_rate": {f"{o.learning_rate:g}": o.accuracy for o in outcomes},
            "inputs": inputs_of(selection, scale),
        },
    )
