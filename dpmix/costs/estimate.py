"""Estimates what the tables and figures of a scale will cost, before anything runs.

It counts the jobs that `dpmix.catalogue.jobs` gives, the streams of samples in each job, and for each stream

    T (steps) x q N (expected records in a step) x (different views of a record)

images through the model (`dpmix.views.union` counts the views that its methods have together), less crops that the job
has encoded before and keeps (`dpmix.artefacts.repeated`), plus those of the test
set, and those of D if it is used to standardise features or to pretrain. Linear heads add a hundred-thousandth of that
and are not counted; neither are decoding and augmentation.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import ImageStore, SyntheticSet
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import Distance, ZeroShot
from dpmix.artefacts.repeated import plain_views, views_saved
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.jobs import SEVERAL, jobs, needed_for, shown_by
from dpmix.errors import known
from dpmix.params.models import ModelSpec
from dpmix.params.specs import DiffusionSpec

if TYPE_CHECKING:
    from dpmix.costs.operations import Costs
from dpmix.costs.amounts import DATA, disk, distance_passes, download, evaluation_passes, views_trained
from dpmix.costs.operations import INCEPTION, Costs, network_cost


@dataclass
class Estimate:
    """What has to be computed and stored for one target, or for several together.

    Attributes:
        target: `table9`, `figure2`, or a name for several.
        runs: models to train, gradient records included.
        selections: learning rates to choose.
        distances: Fréchet distances to measure.
        jobs: of training, selection, zero-shot classification and distances.
        streams: sequences of samples; the methods of one share the union of their views.
        passes: the number of images that go through each model, by its name in the params, or `inception`; for a
            text-to-image model, the number of images that it draws.
        flops: floating-point operations by model; models whose operations cannot be counted are left out.
        disk: bytes by kind: `downloads`, `images`, `synthetic`, `weights`.
    """

    target: str
    runs: int = 0
    selections: int = 0
    distances: int = 0
    jobs: int = 0
    streams: int = 0
    passes: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    flops: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    disk: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add_passes(self, model: str, images: float, costs: "Costs") -> None:
        """Count images that go forward through a model."""
        self.passes[model] += images
        cost = costs.of(model)
        if cost is not None:
            self.flops[model] += images * cost.forward

    def add_streams(self, streams: Sequence[Sequence[Experiment]], costs: "Costs") -> None:
        """Count streams that one job trains on the same images by one encoder, and the crops that it keeps.

        Args:
            streams: runs of each stream.
            costs: of the models.
        """
        saved = [0.0] * len(streams)
        if streams[0][0].model.frozen:
            shown = [plain_views(one, costs.processes) for one in streams]
            saved = views_saved(shown, costs.room(streams[0][0].model.name) if any(map(any, shown)) else 0.0)
        for experiments, views in zip(streams, saved, strict=True):
            self._add_stream(experiments, costs, costs.processes * views)

    def _add_stream(self, experiments: Sequence[Experiment], costs: "Costs", saved: float) -> None:
        """Count a stream; the number of heads that share it does not matter, only how many different views they need.

        Args:
            experiments: runs of the stream; those with the same views count once.
            costs: of the models.
            saved: views whose features are known when they are asked for.
        """
        experiment, methods = experiments[0], list({one.wanted_views(): one for one in experiments}.values())
        pretrained = {one.method: one for one in experiments if one.pretrain_epochs}
        name, trained = experiment.model.name, views_trained(*methods) - saved
        evaluated = evaluation_passes(experiment, *(one for one in pretrained.values() if one is not experiment))
        self.streams += 1
        if experiment.model.frozen:
            self.add_passes(name, trained + evaluated, costs)
            return
        cost = network_cost(experiment.model, experiment.dataset.channels, experiment.dataset.classes)
        self.passes[name] += trained + evaluated
        self.flops[name] += trained * cost.training + evaluated * cost.forward

    def add_job(self, artefacts: Iterable[Artefact], costs: "Costs") -> None:
        """Count a job of training, selection, zero-shot classification or distances."""
        self.jobs += 1
        streams: dict[str, list[Experiment]] = defaultdict(list)
        for artefact in artefacts:
            if isinstance(artefact, Distance):
                self.distances += 1
                extractor = artefact.extractor.name if artefact.extractor else INCEPTION
                self.add_passes(extractor, distance_passes(artefact), costs)
                continue
            if isinstance(artefact, ZeroShot):
                self.add_passes(artefact.model.name, artefact.dataset.test, costs)
                continue
            assert isinstance(artefact, Experiment | Selection | GradientRecord)
            self.selections += isinstance(artefact, Selection)
            self.runs += not isinstance(artefact, Selection)
            experiment = artefact if isinstance(artefact, Experiment) else artefact.experiment
            streams[experiment.stream()].append(experiment)
        alike: dict[tuple[ModelSpec, str], list[list[Experiment]]] = defaultdict(list)
        for experiments in streams.values():
            alike[experiments[0].model, experiments[0].images().hash].append(experiments)
        for several in alike.values():
            self.add_streams(several, costs)


def estimates(
    catalogue: Catalogue, targets: Sequence[str] | None = None, *, costs: Costs | None = None, missing_only: bool = True
) -> list[Estimate]:
    """An estimate for each target and, if there are several, for all together, where shared work counts once.

    Args:
        catalogue: the scale.
        targets: such as `table9`, `figure2` and `all_tables`; None is every table and figure.
        costs: operations of models; pass one that exists to use what it has counted already.
        missing_only: leave out what is on disk, as Snakemake does.

    Returns:
        In the order of `targets`, then the one for all together, called `together` or, for every target, `all`.

    Raises:
        ParamsError: for an unknown target, or an encoder that does not exist.
    """
    there = (*catalogue.targets, *SEVERAL)
    words = [known(word, there, "target") for word in targets or catalogue.targets]
    wanted = {word: frozenset(shown_by(catalogue, word)) for word in words}
    counting = _Counting(catalogue, costs or Costs(catalogue), missing_only)
    rows = [counting.estimate(target, shown) for target, shown in wanted.items()]
    if len(rows) == 1:
        return rows
    return [*rows, counting.estimate("all" if targets is None else "together", frozenset().union(*wanted.values()))]


class _Counting:
    """Counts what targets of a scale need."""

    def __init__(self, catalogue: Catalogue, costs: Costs, missing_only: bool) -> None:
        self._catalogue, self._costs, self._missing_only = catalogue, costs, missing_only
        self._files = [
            (artefact, catalogue.needed_by[path])
            for path, artefact in catalogue.artefacts.items()
            if isinstance(artefact, DATA) and not (missing_only and Path(path).exists())
        ]

    def estimate(self, name: str, targets: frozenset[str]) -> Estimate:
        """What one call of Snakemake for these tables and figures would make."""
        made, fetched = Estimate(name), set()
        if not targets:  # such as `all_figures` of a scale without figures
            return made
        needed = needed_for(self._catalogue, targets)
        for kinds in ((Selection,), (Experiment, GradientRecord), (ZeroShot,), (Distance,)):
            for job in jobs(self._catalogue, *kinds, needed=needed, missing_only=self._missing_only):
                made.add_job(job.artefacts, self._costs)
        for artefact, needed_by in self._files:
            if not targets & needed_by:
                continue
            kind, size = disk(artefact)
            made.disk[kind] += size
            if isinstance(artefact, SyntheticSet) and isinstance(artefact.diffusion, DiffusionSpec):
                made.add_passes(artefact.diffusion.name, artefact.size, self._costs)
            if isinstance(artefact, ImageStore):
                fetched.add(artefact.dataset)
        made.disk["downloads"] += sum(download(dataset, self._missing_only) for dataset in fetched)
        return made
