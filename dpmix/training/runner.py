"""One training job: some runs, learning-rate selections and gradient records, grouped by what they share.

`TRAINERS` has a trainer for each kind of model in the params; a new kind of model is a trainer and a line there.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from dpmix.artefacts.base import Artefact
from dpmix.execution import DEFAULT, Execution
from dpmix.params.specs import EncoderSpec, Spec, WideResNetSpec
from dpmix.training.heads_job import train_stream
from dpmix.training.inputs import experiment_of
from dpmix.training.network_job import train_network
from dpmix.training.workers import Workers, workers


class Trainer(Protocol):
    """Trains what shares a stream of views (`Experiment.stream`) and writes it, each whole or not at all."""

    def __call__(self, wanted: Sequence[Artefact], scale: str, execution: Execution, workers: Workers, /) -> None:
        """Make `wanted`: runs, selections and gradient records of one stream.

        All processes call it alike; `workers` says which of them writes. The execution's device is this process's own.
        """


TRAINERS: dict[type[Spec], Trainer] = {WideResNetSpec: train_network, EncoderSpec: train_stream}


def make(artefacts: Sequence[Artefact], scale: str, execution: Execution = DEFAULT) -> None:
    """Train whatever these artefacts need and write them, each whole or not at all.

    Finished runs of the job are on disk before the next stream starts, and a stream that was killed is taken up where
    its last checkpoint was. Under torchrun the processes share each run.

    Raises:
        DpmixError: if an input is missing or damaged, or a run would exceed its ε.
    """
    streams: dict[tuple[type[Spec], str], list[Artefact]] = defaultdict(list)
    for artefact in artefacts:
        experiment = experiment_of(artefact)
        streams[type(experiment.model), experiment.stream()].append(artefact)
    process_group, device = workers(execution.where())
    execution = replace(execution, device=device)
    for (model, _), wanted in streams.items():
        TRAINERS[model](wanted, scale, execution, process_group)
