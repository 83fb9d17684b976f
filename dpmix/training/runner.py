"""One job: some runs, learning-rate selections and gradient records, grouped by the stream that they share."""

import functools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from dpmix.errors import ParamsError
from dpmix.experiment import Artefact, EncoderModel, Experiment, GradientRecord, Selection
from dpmix.files import read_json, write_json
from dpmix.params import EncoderSpec
from dpmix.privacy.plan import Plan
from dpmix.training.data import load_data
from dpmix.training.outcome import Outcome, write_magnitudes, write_run


def default_device() -> str:
    """The first CUDA device if there is one, else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def make(artefacts: Sequence[Artefact], scale: str, *, device: str | None = None, physical_batch: int = 64) -> None:
    """Train whatever these artefacts need and write them, each whole or not at all.

    Finished runs of the job are on disk before the next stream starts.

    Raises:
        DpmixError: if an input is missing or damaged, or a run would exceed its ε.
    """
    device = device or default_device()
    scratch: dict[str, list[Artefact]] = defaultdict(list)
    streams: dict[str, list[Artefact]] = defaultdict(list)
    for artefact in artefacts:
        experiment = _experiment(artefact)
        if isinstance(experiment.model, EncoderSpec):
            streams[experiment.stream()].append(artefact)
        else:
            scratch[experiment.hash].append(artefact)
    for wanted in scratch.values():
        _make_scratch(wanted, scale, device, physical_batch)
    for wanted in streams.values():
        _make_stream(wanted, scale, device, physical_batch)


def _experiment(artefact: Artefact) -> Experiment:
    if isinstance(artefact, Experiment):
        return artefact
    if isinstance(artefact, Selection | GradientRecord):
        return artefact.experiment
    raise ParamsError(f"{type(artefact).__name__} is not something that training makes")


def learning_rate(experiment: Experiment, scale: str) -> float:
    """The number itself, or the one that its selection chose."""
    rate = experiment.learning_rate
    if isinstance(rate, Selection):
        return float(read_json(rate.path(scale))["learning_rate"])
    if rate is None:
        raise ParamsError(f"{experiment.method} on {experiment.dataset.name} has no learning rate")
    return rate


def _plan(experiment: Experiment, scale: str) -> Plan:
    return Plan.from_json(read_json(experiment.plan().path(scale)))


def _make_scratch(wanted: Sequence[Artefact], scale: str, device: str, physical_batch: int) -> None:
    from dpmix.training.scratch import train_from_scratch

    experiment = _experiment(wanted[0])
    if any(not isinstance(artefact, Experiment) for artefact in wanted):
        raise ParamsError(
            f"{experiment.model.name} is trained from scratch: give its learning rates in params.yaml as numbers, "
            "and record gradients (figure 2) with an encoder"
        )
    plan = _plan(experiment, scale)
    numbered = experiment.model_copy(update={"learning_rate": learning_rate(experiment, scale)})
    outcome = train_from_scratch(
        numbered, plan, load_data(experiment, scale), device=device, physical_batch=physical_batch
    )
    write_run(experiment, plan, outcome, scale)


def _make_stream(wanted: Sequence[Artefact], scale: str, device: str, physical_batch: int) -> None:
    from dpmix.training.head import Featurizer, Head, train_heads

    first = _experiment(wanted[0])
    data = load_data(first, scale)
    encode = _encoder(EncoderModel(encoder=first.model).path(scale).parent, device)
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
            recording = isinstance(artefact, GradientRecord) or (key in heads and heads[key].record_magnitudes)
            heads[key] = Head(
                plan,
                rate,
                # Not by learning rate: candidates compared under the same noise differ by their rate alone.
                f"ε={experiment.epsilon:g} C={experiment.clip_norm:g}",
                experiment.momentum,
                experiment.weight_decay,
                recording,
            )
    outcomes = dict(
        zip(
            heads,
            train_heads(first, list(heads.values()), data, featurize, device=device, physical_batch=physical_batch),
            strict=True,
        )
    )
    for artefact in wanted:
        experiment = _experiment(artefact)
        chosen = [outcomes[(experiment, rate)] for rate in rates[artefact.hash]]
        if isinstance(artefact, Selection):
            _write_selection(artefact, chosen, scale)
        elif isinstance(artefact, GradientRecord):
            write_magnitudes(artefact.path(scale), experiment, _plan(experiment, scale), chosen[0])
        else:
            write_run(experiment, _plan(experiment, scale), chosen[0], scale)


@functools.cache
def _encoder(directory: Path, device: str):  # type: ignore[no-untyped-def]
    from dpmix.models.encoders import load_encoder

    return load_encoder(directory, device=device)


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
