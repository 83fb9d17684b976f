"""What the tables of a scale will cost, counted before anything is spent.

What is counted is what `dpmix.catalogue.jobs` would run: the jobs, in each the streams of views, in each stream

    T (steps) x q N (records sampled at each) x K (views of a record)

images through the model, and those of the test set, and of D where features are standardised or pretrained by it.
Linear heads add a hundred-thousandth of that and are left out, and so are decoding and augmenting.
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
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.jobs import jobs, needed_for
from dpmix.errors import known
from dpmix.params.specs import DiffusionSpec, EncoderSpec

if TYPE_CHECKING:
    from dpmix.costs.operations import Costs
from dpmix.costs.amounts import DATA, disk, distance_passes, download, evaluation_passes, views_trained
from dpmix.costs.operations import INCEPTION, Costs, network_cost


@dataclass
class Estimate:
    """What one target, or several together, need.

    Attributes:
        target: `table9`, `figure2`, or a name for several.
        runs: models to train, gradient records included.
        selections: learning rates to choose.
        distances: Fréchet distances to measure.
        jobs: of training, selection, zero-shot classification and distances.
        streams: passes over views that heads share.
        passes: images through each model, by its name in the params; `inception` for FID's, and for a text-to-image
            model the images drawn.
        flops: floating-point operations by model; a model whose cost cannot be counted is missing.
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

    def add_stream(self, experiment: Experiment, costs: "Costs") -> None:
        """Count a stream of views, whatever heads share it."""
        name, trained, evaluated = experiment.model.name, views_trained(experiment), evaluation_passes(experiment)
        self.streams += 1
        if isinstance(experiment.model, EncoderSpec):
            self.add_passes(name, trained + evaluated, costs)
            return
        cost = network_cost(experiment.model, experiment.dataset.channels, experiment.dataset.classes)
        self.passes[name] += trained + evaluated
        self.flops[name] += trained * cost.training + evaluated * cost.forward

    def add_job(self, artefacts: Iterable[Artefact], costs: "Costs") -> None:
        """Count a job of training, selection, zero-shot classification or distances."""
        self.jobs += 1
        streams: dict[str, Experiment] = {}
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
            streams[experiment.stream()] = experiment
        for experiment in streams.values():
            self.add_stream(experiment, costs)


def estimates(
    catalogue: Catalogue, targets: Sequence[str] | None = None, *, costs: Costs | None = None, missing_only: bool = True
) -> list[Estimate]:
    """An estimate for each target and, after several, for all of them together: there shared work counts once.

    Args:
        catalogue: the scale.
        targets: such as `table9` and `figure2`, each made by a call of its own, then all by one; None is everything.
        costs: counts operations; one that is passed again keeps what it has counted.
        missing_only: leave out what is on disk, as Snakemake does.

    Raises:
        ParamsError: for an unknown target, or an encoder that does not exist.
    """
    wanted = [known(target, catalogue.targets, "target") for target in dict.fromkeys(targets or catalogue.targets)]
    counting = _Counting(catalogue, costs or Costs(catalogue), missing_only)
    rows = [counting.estimate(target, frozenset({target})) for target in wanted]
    if len(rows) == 1:
        return rows
    return [*rows, counting.estimate("all" if targets is None else "together", frozenset(wanted))]


class _Counting:
    """What is to be made at a scale, and which targets need it."""

    def __init__(self, catalogue: Catalogue, costs: Costs, missing_only: bool) -> None:
        self._catalogue, self._costs, self._missing_only = catalogue, costs, missing_only
        self._files = [
            (artefact, catalogue.needed_by[path])
            for path, artefact in catalogue.artefacts.items()
            if isinstance(artefact, DATA) and not (missing_only and Path(path).exists())
        ]

    def estimate(self, name: str, targets: frozenset[str]) -> Estimate:
        """What one call for these targets makes."""
        made, fetched = Estimate(name), set()
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
