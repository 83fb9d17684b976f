"""Specifications of what is trained: a run, the choice of a learning rate, and a record of gradient magnitudes."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator
from typing_extensions import override

from dpmix.artefacts.base import SEMANTICS, Artefact, JobShare, digest, number
from dpmix.artefacts.data import EncoderModel, ImageStore, SyntheticSet, SyntheticStore
from dpmix.artefacts.fitting import unfit
from dpmix.artefacts.plan_file import PlanFile
from dpmix.params.models import EncoderSpec, ModelSpec
from dpmix.params.settings import OF_HEADS, OF_VIEWS, PlanSettings, RunSettings, default, values_of
from dpmix.params.specs import DatasetSpec
from dpmix.views.settings import ViewSettings
from dpmix.views.union import Wanted

# Whose code trains; what images, encoders and plans are made by comes with these.
_TRAINING = ("makers.runs", "training", "views", "models", "data", "privacy", "random")


class Experiment(RunSettings, Artefact):
    """Everything that determines one trained model and its accuracy: a cell of a table has one for each seed."""

    folder: ClassVar[str] = "runs"
    semantics: int = SEMANTICS
    dataset: DatasetSpec
    model: ModelSpec
    method: str
    synthetic: SyntheticSet | None
    learning_rate: "float | Selection | None"
    holdout: float = Field(default=0.0, ge=0, lt=1)
    seed: int

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if why := unfit(self):
            raise ValueError(f"{self.dataset.name}, {self.model.name}, {self.method}: {why}")
        return self

    @property
    def subset_size(self) -> int:
        """The published number of training images, of all or of the half S1, or of persons; before any are held out."""
        size = self.dataset.train if self.unit == "image" else self.dataset.persons
        assert size is not None
        return size // 2 if self.subset == "S1" else size

    @property
    def held_out_size(self) -> int:
        """How many of these images or persons a tuning run holds out, to measure accuracy on."""
        return round(self.holdout * self.subset_size)

    @property
    def population(self) -> int:
        """N, the number of images or persons that steps sample from; public."""
        return self.subset_size - self.held_out_size

    @property
    def synthetic_size(self) -> int:
        """|D|, the number of synthetic images used: with subset S1, at most as many as S1 has (appendix B.1)."""
        if self.synthetic is None:
            return 0
        return min(self.synthetic.size, self.subset_size) if self.subset == "S1" else self.synthetic.size

    @property
    def private_seed(self) -> int | None:
        """The seed of samples and noise; None for a release, where they come from the operating system's entropy."""
        return None if self.release else self.seed

    @property
    def views(self) -> int:
        """K, the augmentation multiplicity."""
        return self.view_settings.views

    @property
    def view_settings(self) -> ViewSettings:
        """The settings of its views.

        Raises:
            ValueError: if they do not fit together.
        """
        return ViewSettings(**{name: getattr(self, field) for field, name in OF_VIEWS.items()})

    @property
    def mixes_in_synthetic(self) -> bool:
        """Whether images of D are among the views."""
        return self.k_diff > 0 and self.mix_with == "synthetic"

    @property
    def _reads_mixing(self) -> bool:
        """Whether its plan depends on the width of ModelMix's mixing, also to match its noise by noise alone."""
        return self.update == "model-mix" or self.calibration == "matched"

    @property
    def uses_synthetic(self) -> bool:
        """Whether the result depends on D: through views, pretraining, or the standardisation of features."""
        return self.mixes_in_synthetic or self.pretrain_epochs > 0 or self._standardized

    @property
    def _standardized(self) -> bool:
        """Whether features are standardised by D."""
        return isinstance(self.model, EncoderSpec) and self.model.standardize == "public"

    def canonical(self) -> Self:
        """This run with every setting that has no effect on its result set to its default.

        Runs with the same canonical form have the same hash, and are one run. `ViewSettings.canonical` does this for
        the settings of views.
        """
        views = self.view_settings.canonical()
        changes: dict[str, Any] = {field: getattr(views, name) for field, name in OF_VIEWS.items()}
        if not self.k_diff:
            changes["mix_with"] = "synthetic"
        if not self.uses_synthetic:
            changes["synthetic"] = None
        if self.model.frozen and self.clipping == "per-layer":
            changes["clipping"] = "flat"  # a linear head is one layer
        if self.clipping != "coordinates":
            changes["truncation"] = default("truncation")
        if not self._reads_mixing:
            changes["mix_width"] = default("mix_width")
        if all(getattr(self, field) == value for field, value in changes.items()):
            return self
        return self.model_copy(update=changes)

    @override
    def rooms(self) -> tuple[str, ...]:
        return _TRAINING

    @override
    def key(self) -> dict[str, Any]:
        return dict(self._key)

    # A run's key is part of those of its selection and gradient record, and of its stream.
    @cached_property
    def _key(self) -> dict[str, Any]:
        key = Artefact.key(self.canonical())
        if self.epsilon == math.inf:  # no noise is calibrated, by no accountant, for no δ
            del key["accountant"], key["delta"]
        return key

    def stream(self) -> str:
        """The hash of data, encoder, seed and everything else that determines the samples.

        Heads with the same one are trained at once, whatever their methods: these differ in their views, of which the
        union is passed (`dpmix.views.union`). For a network from scratch, which could share little work, and for a
        model for release it is the run's own hash.
        A release must share its sample with no other: the ε of two models trained on the same secret sample do not
        simply add up.
        """
        if self.release or not self.model.frozen:
            return self.hash
        return self._stream

    @cached_property
    def _stream(self) -> str:
        # D is a method's own, unless features are standardised by it.
        own = OF_HEADS if self._standardized else OF_HEADS | {"synthetic"}
        return digest({name: value for name, value in self._key.items() if name not in own})

    def wanted_views(self) -> Wanted:
        """Its views, to be made together with those of other runs of its stream.

        Raises:
            ValueError: if the settings of views do not fit together.
        """
        drawn_from = None
        if self.k_diff:
            synthetic = self.synthetic_images()
            drawn_from = (self.mix_with, synthetic.hash if self.mixes_in_synthetic and synthetic else "")
        return Wanted(self.view_settings, drawn_from)

    def images(self) -> ImageStore:
        """The private images at the model's resolution."""
        return ImageStore(dataset=self.dataset, resolution=self.model.resolution)

    def synthetic_images(self) -> SyntheticStore | None:
        """D at the model's resolution, if this experiment uses it."""
        if self.synthetic is None or not self.uses_synthetic:
            return None
        return SyntheticStore(synthetic=self.synthetic, resolution=self.model.resolution)

    def encoder(self) -> EncoderModel | None:
        """The frozen encoder, if the model is a head on one."""
        return EncoderModel(encoder=self.model) if isinstance(self.model, EncoderSpec) else None

    def plan(self) -> PlanFile:
        """The privacy plan of this run, shared by all runs with the same target."""
        values = values_of(PlanSettings, self)
        if not self._reads_mixing:
            values |= {"mix_width": default("mix_width"), "truncation": default("truncation")}
        elif self.clipping != "coordinates":
            values["truncation"] = 1.0  # no entry exceeds C in any mode
        return PlanFile(population=self.population, **values)

    @override
    def inputs(self) -> list[Artefact]:
        made: list[Artefact | None] = [self.images(), self.encoder(), self.synthetic_images(), self.plan()]
        if isinstance(self.learning_rate, Selection):
            made.append(self.learning_rate)
        return [artefact for artefact in made if artefact is not None]

    @override
    def job_share(self) -> JobShare:
        # JAX compiles for a second or ten, and for all runs of a process: there the seeds share one.
        seed = "" if self.engine == "jax" else str(self.seed)
        # A network from scratch takes longest: were it started last, a core would be idle at the end.
        return JobShare("run", self.model.name, seed, self.stream(), priority=int(not self.model.frozen))

    def directory(self, scale: str) -> Path:
        """The folder of this run's files."""
        ks = f"k{self.k_base}-{self.k_self}-{self.k_diff}"
        name = f"{self.epsilon_word}{number(self.epsilon)}-{ks}-seed{self.seed}-{self.hash}"
        return Path("results", scale, self.folder, self.dataset.name, self.model.name, self.method, name)

    @override
    def path(self, scale: str) -> Path:
        return self.directory(scale) / "metrics.json"


class Selection(Artefact):
    """A learning rate chosen by accuracy on held-out training images, which the tuning run did not train on."""

    folder: ClassVar[str] = "selections"
    experiment: Experiment
    learning_rates: tuple[float, ...]

    @override
    def inputs(self) -> list[Artefact]:
        return self.experiment.inputs()

    @override
    def job_share(self) -> JobShare:
        return self.experiment.job_share()._replace(work="tune", priority=2)  # runs wait for it

    @override
    def rooms(self) -> tuple[str, ...]:
        return _TRAINING

    @override
    def path(self, scale: str) -> Path:
        e = self.experiment
        name = f"eps{number(e.epsilon)}-k{e.k_base}-{e.k_self}-{e.k_diff}-{self.hash}.json"
        return Path("results", scale, self.folder, e.dataset.name, e.model.name, e.method, name)


class GradientRecord(Artefact):
    """The mean magnitude of each parameter's gradient before clipping, in each epoch of a run (Figure 2)."""

    folder: ClassVar[str] = "runs"
    experiment: Experiment

    @model_validator(mode="after")
    def _may_be_looked_at(self) -> Self:
        if self.experiment.release:
            raise ValueError("gradients before clipping are not covered by ε; record them in a run without release")
        return self

    @override
    def inputs(self) -> list[Artefact]:
        return self.experiment.inputs()

    @override
    def job_share(self) -> JobShare:
        return self.experiment.job_share()

    @override
    def rooms(self) -> tuple[str, ...]:
        return _TRAINING

    @override
    def path(self, scale: str) -> Path:
        return self.experiment.directory(scale) / "gradients.npz"


Experiment.model_rebuild()
