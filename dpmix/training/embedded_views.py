"""The views of a stream's methods after the encoder: made and encoded when a step asks for them, or once and kept."""

import functools
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.repeated import Shown, plain_views
from dpmix.models.features import Featurizer
from dpmix.privacy.plan import Plan
from dpmix.progress import progress
from dpmix.random import KeyedRandom
from dpmix.training.data import TrainingData, view_settings
from dpmix.training.kept_crops import KeptCrops
from dpmix.training.kept_views import Encoded, KeptViews
from dpmix.training.physical_batches import PhysicalBatches
from dpmix.views.mixing import make_views
from dpmix.views.person_views import make_person_views
from dpmix.views.sets import encoded_ahead, sets_shown, share_encoded, view_random
from dpmix.views.union import ViewUnion
from dpmix.views.union_views import make_union_views, plain_pictures

_Units = npt.NDArray[np.int64]

_BYTES_OF_PLACE = 4  # of the table that says of each set where it is kept, which is always in memory


class EmbeddedViews:
    """The features of the views of several methods of one stream.

    Args:
        experiments: one of each method.
        data: of each method.
        featurize: the frozen encoder.
        device: where views are made and encoded.
    """

    def __init__(
        self, experiments: Sequence[Experiment], data: Sequence[TrainingData], featurize: Featurizer, device: str
    ) -> None:
        self._experiment, self._data, self._featurize, self._device = experiments[0], data[0], featurize, device
        wanted = [one.wanted_views() for one in experiments]
        self._union = ViewUnion.of(wanted, by_person=self._data.persons is not None)
        self._sources = {one.source: its.mixed_in for one, its in zip(wanted, data, strict=True)}
        self._places = {one.source: its.mixed_in_places for one, its in zip(wanted, data, strict=True)}
        self._experiments = experiments
        self._settings = view_settings(self._experiment)
        # Of a method whose views are always the same the number means nothing, and others of its stream may have 0.
        self._view_sets = min(one.view_sets for one in experiments)
        # What one method needs by itself, a model for release above all, is made without any of this.
        self._alone = len(wanted) == 1 and (self._experiment.release or self._union.views == self._settings.views)
        self._kept: KeptViews | None = None
        self._crops: KeptCrops | None = None
        self._shown: Sequence[Shown | None] = []

    def of(self, units: _Units, step: int) -> Iterable[tuple[Tensor, Tensor]]:
        """For each method, the features of its views, float32 [n, K, d + 1], and their targets [n, K, classes].

        Args:
            units: int64 [n], the sampled examples, or persons who have an image.
            step: the step, from 0.
        """
        seed, view_sets = self._experiment.seed, self._view_sets
        if self._kept is not None:
            return self._kept.of(units, sets_shown(seed, step, units, view_sets), self._of_sets)
        made = self._encoded(units, view_random(seed, step, units, view_sets))
        return ((made.features[rows], targets) for rows, targets in zip(made.rows, made.targets, strict=True))

    def shares(self) -> list[float]:
        """Of each method, what it would encode by itself / what all encode together; the sum may be above 1."""
        own = [ViewUnion.of([one], by_person=self._union.by_person).views for one in self._union.wanted]
        crops = self._crops
        if crops is None:
            return [views / self._union.views for views in own]
        together = crops.encoded(self._experiment.stream(), self._union.views, self._experiment)
        return [crops.encoded_alone(one, views) / together for one, views in zip(self._experiments, own, strict=True)]

    def keep_crops(self, crops: KeptCrops, width: int, processes: int = 1) -> None:
        """Keep the features of plain views that come again by chance, if such are expected; of no release.

        Args:
            crops: those of the job.
            width: d + 1, numbers of a picture.
            processes: how many share the run.
        """
        self._shown = plain_views(self._experiments, processes)
        precision = getattr(self._featurize.encode, "precision", torch.float32)
        if any(self._shown) and crops.open(width - 1, precision):
            self._crops, self._alone = crops, False

    def keep(
        self, plan: Plan, width: int, most: float, folder: Path | None, physical_batch: int, processes: int = 1
    ) -> None:
        """Keep the features of views that come again, if there are such, from here on.

        If a run of this plan shows most sets, and this process passes all of them, as many as there is room for are
        encoded now. The time of a step then does not depend on who was sampled before it, and the time left can be
        said. Else they are kept as steps show them, but for a release, which keeps nothing then: in another batch an
        image's features may be rounded otherwise, so what is kept of an example would owe its last bits, in all later
        steps, to who else was sampled in one.

        Args:
            plan: of the stream's heads.
            width: d + 1, numbers of a picture.
            most: bytes that all processes together may take.
            folder: for a file of them, if they are many; by default that of temporary files.
            physical_batch: examples whose views are encoded together.
            processes: how many share the run.
        """
        view_sets, share = self._view_sets, most / processes
        if not view_sets or _BYTES_OF_PLACE * plan.population * view_sets > share / 16:
            return
        ahead = processes == 1 and encoded_ahead(plan.sampling_rate, plan.steps, view_sets)
        if self._experiment.release and not ahead:
            return
        self._kept = KeptViews(
            plan.population,
            view_sets,
            [one.settings.views for one in self._union.wanted],
            self._settings.views if self._alone else self._union.views,
            width=width,
            classes=self._data.private.num_classes,
            most=share,
            folder=folder or Path(tempfile.gettempdir()),
            device=self._device,
            shown=share_encoded(plan.sampling_rate, plan.steps, view_sets) if processes == 1 else 1.0,
            processes=processes,
        )
        if ahead:
            self._encode_ahead(plan.population, physical_batch)
        if self._experiment.release:
            self._kept.close()

    def _encode_ahead(self, population: int, physical_batch: int) -> None:
        assert self._kept is not None
        batches, left = PhysicalBatches(physical_batch), self._kept.room
        for number in range(self._view_sets):
            units = np.arange(min(population, left))
            left -= len(units)
            label = "encoding views"
            if self._view_sets > 1:
                label = f"{label}, set {number + 1} of {self._view_sets}"
            made = batches.run(units, functools.partial(self._encode_set, number))
            for _ in progress(made, label, unit="part", total=-(-len(units) // physical_batch)):
                pass

    def _encode_set(self, number: int, units: _Units) -> int:
        assert self._kept is not None
        if self._data.persons is not None:  # here, so that who has no image moves nobody to another batch
            units = self._data.persons.present(units)
        if len(units):
            self._kept.of(units, np.full(len(units), number), self._of_sets)
        return len(units)

    def _of_sets(self, units: _Units, sets: _Units) -> Encoded:
        return self._encoded(units, KeyedRandom(self._experiment.seed, sets, units))

    def _encoded(self, units: _Units, random: KeyedRandom) -> Encoded:
        data = self._data
        if not self._alone:
            shared = make_union_views(
                data.private, units, self._union, random, self._sources, self._device, data.persons
            )
            first = self._plain(next(shared.parts), units, random)
            mixtures = [self._featurize(part) for part in shared.parts]
            return Encoded(torch.cat([first, *mixtures]), shared.rows, shared.targets)
        if data.persons is None:
            views = make_views(data.private, units, self._settings, random, data.mixed_in, self._device)
        else:
            views = make_person_views(
                data.private, data.persons, units, self._settings, random, data.mixed_in, self._device
            )
        n, k = views.images.shape[:2]
        rows = torch.arange(n * k, device=self._device).view(n, k)
        return Encoded(self._featurize(views.images.flatten(0, 1)), [rows], [views.targets])

    def _plain(self, pictures: Tensor, units: _Units, random: KeyedRandom) -> Tensor:
        """The features of plain views, of which some may be kept."""
        if self._crops is None:
            return self._featurize(pictures)
        drawn = plain_pictures(units, self._union, random, self._sources)
        places = [self._data.private_places] * len(self._union.bases)
        places += [self._places[name] for name, _ in self._union.synthetics]
        of_store = [
            (images if place is None else place[images], which)
            for place, (images, which) in zip(places, drawn, strict=True)
        ]
        numbers = self._crops.numbers(self._shown, of_store).reshape(-1)
        return self._featurize.standardised(self._crops.of(numbers, pictures, self._featurize.encode))
