"""A training job: groups runs, selections and gradient records by the samples they share, and trains them.

`TRAINERS` has the ways to train; a model's spec names its own (`trainer`). To add one, write its job and add it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from dpmix.artefacts.base import Artefact
from dpmix.errors import known
from dpmix.execution import DEFAULT, Execution
from dpmix.training.heads_job import train_stream
from dpmix.training.inputs import experiment_of
from dpmix.training.kept_crops import KeptCrops
from dpmix.training.network_job import train_network
from dpmix.training.workers import Workers, workers


class Trainer(Protocol):
    """A function that trains artefacts with the same samples (`Experiment.stream`) and writes their files."""

    def __call__(self, wanted: Sequence[Artefact], scale: str, execution: Execution, workers: Workers, /) -> None:
        """Make the artefacts of one stream.

        Under torchrun all processes call it with the same arguments, but for the device.

        Args:
            wanted: runs, selections and gradient records.
            scale: the name of the scale.
            execution: how to compute; its device is this process's own.
            workers: the processes that share the work, of which the main one writes the files.
        """


TRAINERS: dict[str, Trainer] = {"network": train_network, "heads": train_stream}


def make(artefacts: Sequence[Artefact], scale: str, execution: Execution = DEFAULT) -> None:
    """Train what these artefacts need, stream by stream, and write each of them whole or not at all.

    The files of a stream are written before the next one starts. A stream that was killed continues from its last
    checkpoint. Under torchrun all processes share each run.

    Args:
        artefacts: runs, selections and gradient records.
        scale: the name of the scale.
        execution: how to compute.

    Raises:
        DpmixError: if an input is missing or damaged, or a run would exceed its ε.
    """
    streams: dict[tuple[str, str], list[Artefact]] = defaultdict(list)
    for artefact in artefacts:
        experiment = experiment_of(artefact)
        streams[experiment.model.trainer, experiment.stream()].append(artefact)
    process_group, device = workers(execution.where())
    execution = replace(execution, device=device)
    # Streams on the same images by the same encoder come one after the other, and share the features of what they draw.
    alike: dict[tuple[str, str, str], list[list[Artefact]]] = defaultdict(list)
    for (trainer, _), wanted in streams.items():
        first = experiment_of(wanted[0])
        alike[trainer, first.model.model_dump_json(), first.images().hash].append(wanted)
    for (trainer, *_), several in alike.items():
        runs = [[experiment_of(one) for one in wanted] for wanted in several]
        folder = Path("results", scale, "checkpoints")
        shared = replace(execution, crops=KeptCrops(runs, execution.kept_bytes, folder, process_group.count))
        for wanted in several:
            TRAINERS[known(trainer, TRAINERS, "trainer")](wanted, scale, shared, process_group)
