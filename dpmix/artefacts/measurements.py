"""Specifications of what is measured without training: zero-shot accuracies, Fréchet distances, canary attacks."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator
from typing_extensions import override

from dpmix.artefacts.base import SEMANTICS, Artefact, JobShare, number
from dpmix.artefacts.data import (
    EncoderModel,
    ImageStore,
    InceptionWeights,
    SyntheticSet,
    SyntheticStore,
    encoder_key,
)
from dpmix.artefacts.entries import of_views
from dpmix.artefacts.experiment import Experiment
from dpmix.params.attacks import AttackSpec
from dpmix.params.models import EncoderSpec
from dpmix.params.specs import DatasetSpec, InceptionSpec


class ZeroShot(Artefact):
    """Zero-shot test accuracy: the encoder compares each test image with the names of the classes (ε = 0).

    No private image is used. `prompts` are captions with `{}` in the place of the class name.
    """

    folder: ClassVar[str] = "runs"
    semantics: int = SEMANTICS
    dataset: DatasetSpec
    model: EncoderSpec
    prompts: tuple[str, ...]

    @override
    def rooms(self) -> tuple[str, ...]:
        return ("makers.runs", "evaluation", "training", "models", "data", "random")

    @override
    def key(self) -> dict[str, Any]:
        determining = super().key()
        determining["model"].pop("standardize")  # features are not standardised before they are compared with text
        return determining

    def images(self) -> ImageStore:
        """The store whose test images are classified."""
        return ImageStore(dataset=self.dataset, resolution=self.model.resolution)

    @override
    def inputs(self) -> list[Artefact]:
        return [self.images(), EncoderModel(encoder=self.model)]

    @override
    def job_share(self) -> JobShare:
        return JobShare("zero-shot", self.model.name, "", self.dataset.name)

    @override
    def path(self, scale: str) -> Path:
        run = f"eps0-{self.hash}"
        return Path("results", scale, self.folder, self.dataset.name, self.model.name, "zero-shot", run, "metrics.json")


class Distance(Artefact):
    """The Fréchet distance between two sets of images (Tables 7 and 8).

    Attributes:
        dataset: the private data set.
        extractor: the encoder whose features are compared; None is InceptionV3.
        first: one set: the views that `views` trains on, the training images, or D.
        second: the other set: the training images, the test images, or D.
        views: the run whose views are compared, where `first` is "views".
        synthetic: D.
        samples: how many images of each set are compared; None is all.
        inception: InceptionV3's weights, where the extractor is None.
        resolution: side in pixels at which images are stored.
        seed: of the views.
    """

    folder: ClassVar[str] = "fid"
    semantics: int = SEMANTICS
    dataset: DatasetSpec
    extractor: EncoderSpec | None
    first: Literal["views", "train", "synthetic"]
    second: Literal["train", "test", "synthetic"]
    views: Experiment | None = None
    synthetic: SyntheticSet | None = None
    samples: int | None = None
    resolution: int
    seed: int = 0
    inception: InceptionSpec = InceptionSpec()

    @model_validator(mode="after")
    def _of_the_whole_training_set(self) -> Self:
        run = self.views
        if run is not None and (run.subset, run.mix_with, run.microbatch_size) != ("all", "synthetic", 1):
            raise ValueError(
                "distances are of single examples' views of the whole training set; leave out subset, mix_with and "
                "microbatch_size"
            )
        if run is not None and run.unit != "image":
            raise ValueError("distances are of the views of images, and not of persons; set unit: image")
        return self

    @override
    def rooms(self) -> tuple[str, ...]:
        made_by = ("makers.runs", "evaluation", "training", "views", "privacy", "models", "data", "random")
        return (*made_by, "artefacts.run_values") if self.views else made_by

    @override
    def entries(self) -> tuple[str, ...]:
        return of_views(self.views.view_settings.canonical()) if self.views else ()

    @override
    def key(self) -> dict[str, Any]:
        # Of an experiment only its view settings matter here, and of an extractor only its weights and what it sees.
        views = asdict(self.views.view_settings.canonical()) if self.views else None
        key = {**super().key(), "views": views}
        if self.extractor:
            key["extractor"] = encoder_key(self.extractor)
        if not self.uses_synthetic:
            key.pop("synthetic")
        if self.extractor or self.inception.sha256 == InceptionSpec().sha256:
            key.pop("inception")
        return key

    @property
    def uses_synthetic(self) -> bool:
        """Whether D is one of the two sets, or images of D are among the views."""
        return "synthetic" in (self.first, self.second) or (self.views is not None and self.views.k_diff > 0)

    def inception_weights(self) -> InceptionWeights:
        """InceptionV3's weights, which are read where the extractor is None."""
        return InceptionWeights(inception=self.inception)

    @override
    def inputs(self) -> list[Artefact]:
        made: list[Artefact] = [ImageStore(dataset=self.dataset, resolution=self.resolution)]
        made.append(EncoderModel(encoder=self.extractor) if self.extractor else self.inception_weights())
        if self.uses_synthetic and self.synthetic:
            made.append(SyntheticStore(synthetic=self.synthetic, resolution=self.resolution))
        return made

    @override
    def job_share(self) -> JobShare:
        return JobShare("distance", self.extractor.name if self.extractor else "inception", "", self.dataset.name)

    @override
    def path(self, scale: str) -> Path:
        extractor = self.extractor.name if self.extractor else "inception"
        what = self.views.method if self.views else self.first
        return Path(
            "results", scale, self.folder, self.dataset.name, f"{what}-{self.second}-{extractor}-{self.hash}.json"
        )


class CanaryAttack(AttackSpec, Artefact):
    """A lower bound on ε of a run of ModelMix, from an attack that is simulated (`dpmix.privacy.mixing_attack`).

    The fields are those of `AttackSpec`. The file holds the bound, the ε of the run's accountant, and the counts.
    """

    folder: ClassVar[str] = "attacks"
    semantics: int = SEMANTICS

    @override
    def job_share(self) -> JobShare:
        return JobShare("attack", "", "", "")  # one job for all, since each takes seconds

    @override
    def rooms(self) -> tuple[str, ...]:
        return ("makers.runs", "privacy", "random")

    @override
    def path(self, scale: str) -> Path:
        name = f"model-mix-momentum{number(self.momentum)}-{self.coordinates}-{self.hash}.json"
        return Path("results", scale, self.folder, name)
