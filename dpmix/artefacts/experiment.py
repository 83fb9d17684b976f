"""Specifications of what is trained: a run, the choice of a learning rate, and a record of gradient magnitudes."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator
from typing_extensions import override

from dpmix.artefacts import jax_engine
from dpmix.artefacts.base import SEMANTICS, Artefact, JobShare, digest, number
from dpmix.artefacts.data import EncoderModel, ImageStore, SyntheticSet, SyntheticStore
from dpmix.artefacts.plan_file import PlanFile
from dpmix.artefacts.releasable import objection
from dpmix.errors import suggestion
from dpmix.params.models import EncoderSpec, ModelSpec
from dpmix.params.settings import OF_HEADS, OF_VIEWS, PlanSettings, RunSettings, default, values_of
from dpmix.params.specs import DatasetSpec
from dpmix.views.settings import ViewSettings
from dpmix.views.transforms import TRANSFORMS


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
        where = f"{self.dataset.name}, {self.model.name}, {self.method}"
        try:
            _ = self.view_settings
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if (self.dataset.train if self.unit == "image" else self.dataset.persons) is None:
            size, other = ("train", "person") if self.unit == "image" else ("persons", "image")
            raise ValueError(
                f"{where}: unit: {self.unit} samples from a published number of {self.unit}s; give it as {size} of the "
                f"data set, or set unit: {other}"
            )
        if self.unit == "person" and (self.subset, self.microbatch_size) != ("all", 1):
            raise ValueError(
                f"{where}: unit: person trains on all persons, one by one; set subset: all and microbatch_size: 1, or "
                "unit: image"
            )
        if self.batch_size > self.population:
            of = f"{self.unit}s that the tuning run trains on" if self.holdout else f"training {self.unit}s"
            raise ValueError(f"{where}: batch_size {self.batch_size} exceeds the {self.population} {of}; lower it")
        if self.bands > 1 and self.microbatch_size > 1:
            raise ValueError(f"{where}: banded noise is not accounted for with microbatches; set bands: 1")
        plain = self.bands == 1 and self.microbatch_size == 1 and self.update == "sgd"
        if self.batches == "fixed-order" and not plain:
            raise ValueError(
                f"{where}: batches in a fixed order are accounted for plain DP-SGD alone; set bands and "
                "microbatch_size to 1, and update to sgd"
            )
        if self.bands * self.batch_size > self.population:
            raise ValueError(
                f"{where}: {self.bands} bands sample from {self.population // self.bands} {self.unit}s at a time, "
                f"fewer than batch_size {self.batch_size}; lower one of them"
            )
        if self.update == "model-mix" and self.model.frozen:
            raise ValueError(
                f"{where}: update: model-mix is for networks trained from scratch, and {self.model.name} is a frozen "
                "encoder; set update: sgd, or another model"
            )
        if self.update == "model-mix" and (self.bands > 1 or self.microbatch_size > 1):
            raise ValueError(
                f"{where}: update: model-mix is accounted for with independent noise and single examples alone; set "
                "bands: 1 and microbatch_size: 1, or update: sgd"
            )
        if self.calibration == "accountant" and self.update != "model-mix":
            raise ValueError(
                f"{where}: calibration: accountant is for update: model-mix, as there is no other bound; remove it"
            )
        if self.calibration == "matched" and (
            (self.update, self.bands, self.microbatch_size, self.batches) != ("sgd", 1, 1, "poisson")
            or self.epsilon == math.inf
        ):
            raise ValueError(
                f"{where}: calibration: matched is for update: sgd with a finite epsilon, bands: 1, batches: poisson "
                "and microbatch_size: 1; set these, or remove it"
            )
        for name in self.transforms:
            if name not in TRANSFORMS:
                raise ValueError(f"{where}: unknown transform {name!r}; {suggestion(name, sorted(TRANSFORMS))}")
        if self.mixes_in_synthetic and self.synthetic is None:
            raise ValueError(f"{where}: k_diff > 0 needs a synthetic set; name one: synthetic, under the scale")
        pool = self.dataset.records // 2 if self.mix_with == "S2" else self.synthetic_size
        if self.k_diff > pool:
            raise ValueError(f"{where}: k_diff {self.k_diff} exceeds the {pool} images to draw from; lower it")
        if self.k_diff and self.mix_with == "S2" and self.subset != "S1":
            raise ValueError(f"{where}: mix_with: S2 mixes in the half that is not trained on; set subset: S1")
        if self.model.frozen and self.microbatch_size > 1:
            raise ValueError(f"{where}: microbatches are for models trained from scratch; remove microbatch_size")
        if self.model.frozen and self.precision != "float32":
            raise ValueError(
                f"{where}: precision is for models trained from scratch; a frozen encoder's is encoder_precision under "
                "bundle, so remove it"
            )
        if self.engine == "jax" and (why := jax_engine.objection(self.model, self)):
            raise ValueError(f"{where}: engine: jax {why}")
        if not self.model.frozen and isinstance(self.learning_rate, Selection):
            raise ValueError(
                f"{where}: the learning rate of a network trained from scratch is not tuned; give learning_rate as a "
                "number, or one for each ε"
            )
        if self.release and (why := objection({name: getattr(self, name) for name in type(self).model_fields})):
            raise ValueError(f"{where}: release: {why}")
        if not self.model.frozen and self.pretrain_epochs:
            raise ValueError(f"{where}: pretrain_epochs is for encoders with a linear head; remove it")
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
        standardized = isinstance(self.model, EncoderSpec) and self.model.standardize == "public"
        return self.mixes_in_synthetic or self.pretrain_epochs > 0 or standardized

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
        """The hash of everything that determines the samples and views; heads with the same one are trained at once.

        For a network from scratch, which could share little work, and for a model for release it is the run's own hash.
        A release must share its sample with no other: the ε of two models trained on the same secret sample do not
        simply add up.
        """
        if self.release or not self.model.frozen:
            return self.hash
        return self._stream

    @cached_property
    def _stream(self) -> str:
        return digest({name: value for name, value in self._key.items() if name not in OF_HEADS})

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
    def path(self, scale: str) -> Path:
        return self.experiment.directory(scale) / "gradients.npz"


Experiment.model_rebuild()
