"""Experiments and everything else that is computed: typed, validated, and named by what determines it.

Each artefact's path ends in a hash of its resolved specification. A changed parameter is therefore a new path, and
nothing stale is ever read, by Snakemake or by DVC, with or without their records of earlier runs.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, PlainSerializer, model_validator
from typing_extensions import override

from dpmix.augmentation import TRANSFORMS
from dpmix.params import (
    DatasetSpec,
    DiffusionSpec,
    EncoderSpec,
    GivenImagesSpec,
    ModelSpec,
    Spec,
    SyntheticSource,
    WideResNetSpec,
    suggestion,
)
from dpmix.releasable import objection
from dpmix.views import ViewSettings

if TYPE_CHECKING:
    from dpmix.privacy.plan import Plan

# Raised whenever the meaning of a result changes without a parameter changing: every run is then another run.
SEMANTICS = 2


# JSON has no infinity: a run without noise says "inf".
Epsilon = Annotated[float, PlainSerializer(lambda value: "inf" if value == math.inf else value, when_used="json")]


def digest(value: Any, length: int = 10) -> str:
    """The first `length` hex digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def number(value: float) -> str:
    """A number as it stands in a path: 8, 0.5, 1e-05, inf."""
    return f"{value:g}"


class JobShare(NamedTuple):
    """What the artefacts of one job have in common.

    Attributes:
        work: its kind, which is also how the job's name begins.
        model: whose start costs, such as an encoder's; empty if there is none.
        seed: on one machine, where starting a process costs most, a job has all artefacts of a model and a seed.
        stream: on a cluster it has those of a model and a stream, of which the views or images cost most.
    """

    work: str
    model: str
    seed: str
    stream: str


class Artefact(Spec):
    """Something that one job makes: a file whose presence means that it is whole."""

    folder: ClassVar[str]

    def key(self) -> dict[str, Any]:
        """What determines this artefact, and nothing else; artefacts within it count by their own keys."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        within = {name: value.key() for name, value in values.items() if isinstance(value, Artefact)}
        return {**_determining(self.model_dump(mode="json", exclude=set(within))), **within}

    @cached_property
    def hash(self) -> str:
        """Ten hex digits that stand for the whole specification."""
        return digest({"kind": type(self).__name__, **self.key()})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values, which must not inherit what was worked out from these."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    def path(self, scale: str) -> Path:
        """Where it lies, relative to the repository's root."""
        raise NotImplementedError

    def inputs(self) -> list["Artefact"]:
        """What must be made before it."""
        return []

    def job_share(self) -> JobShare:
        """With what it may be made in one job; by default with all of its kind, or on a cluster alone."""
        return JobShare(type(self).__name__.lower(), "", "", self.hash)


# Labels are for people; D's class names are the same wherever they are looked up; whose D is shared, D itself says.
_NOT_DETERMINING = ("label", "names_from", "parent")


def _determining(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _determining(entry) for key, entry in value.items() if key not in _NOT_DETERMINING}
    if isinstance(value, list):
        return [_determining(entry) for entry in value]
    return value


def _without_defaults(artefact: Artefact, *names: str) -> dict[str, Any]:
    """An artefact's key without those of the named fields that are as they are by default."""
    off = {name for name in names if getattr(artefact, name) == type(artefact).model_fields[name].default}
    return {name: value for name, value in Artefact.key(artefact).items() if name not in off}


class ImageStore(Artefact):
    """A private data set, decoded once at one resolution."""

    folder: ClassVar[str] = "data/images"
    dataset: DatasetSpec
    resolution: int

    @override
    def path(self, scale: str) -> Path:
        return Path(self.folder, f"{self.dataset.name}-{self.resolution}px-{self.hash}", "meta.json")


class DiffusionModel(Artefact):
    """A text-to-image pipeline on disk, downloaded or (the demo's) trained."""

    folder: ClassVar[str] = "data/diffusion"
    name: str
    model: str
    revision: str | None = None

    @override
    def path(self, scale: str) -> Path:
        return Path(self.folder, f"{self.name}-{self.hash}", "model_index.json")


class SyntheticSet(Artefact):
    """D: `size` images of a data set's classes, drawn from a text-to-image model or public images that are given."""

    folder: ClassVar[str] = "data/synthetic"
    dataset: DatasetSpec
    size: int
    diffusion: SyntheticSource
    names_from: int  # resolution of the store in which the class names are looked up

    def names(self) -> ImageStore:
        """The private store in which the names of its classes are looked up."""
        return ImageStore(dataset=self.dataset, resolution=self.names_from)

    @override
    def key(self) -> dict[str, Any]:
        key = super().key()
        if isinstance(self.diffusion, DiffusionSpec):
            key["diffusion"].pop("batch_size")  # how, not what
            key["diffusion"]["saved_resolution"] = self.diffusion.saved_resolution or self.diffusion.resolution
        return key

    def model_on_disk(self) -> DiffusionModel | None:
        """The pipeline that draws it; None for images that are given."""
        if isinstance(self.diffusion, GivenImagesSpec):
            return None
        return DiffusionModel(name=self.diffusion.name, model=self.diffusion.model, revision=self.diffusion.revision)

    @override
    def path(self, scale: str) -> Path:
        return Path(self.folder, f"{self.dataset.name}-{self.diffusion.name}-{self.hash}", "manifest.json")

    @override
    def inputs(self) -> list[Artefact]:
        model = self.model_on_disk()
        return [model, self.names()] if model else [self.names()]


class SyntheticStore(Artefact):
    """D, decoded once at one resolution."""

    folder: ClassVar[str] = "data/images"
    synthetic: SyntheticSet
    resolution: int

    @override
    def path(self, scale: str) -> Path:
        return Path(self.folder, f"{self.synthetic.dataset.name}-synthetic-{self.resolution}px-{self.hash}/meta.json")

    @override
    def inputs(self) -> list[Artefact]:
        return [self.synthetic, self.synthetic.names()]


def _encoder_key(encoder: EncoderSpec) -> dict[str, Any]:
    # Trained here, it depends on the images as they are decoded; what is fetched is the same at every resolution.
    given = {"images": encoder.images, "resolution": encoder.resolution} if encoder.images else {}
    return {"architecture": encoder.architecture, "weights": encoder.weights, **given}


class EncoderModel(Artefact):
    """A frozen image encoder on disk, downloaded or trained on public images."""

    folder: ClassVar[str] = "data/encoders"
    encoder: EncoderSpec

    @override
    def key(self) -> dict[str, Any]:
        return _encoder_key(self.encoder)

    @override
    def path(self, scale: str) -> Path:
        # OpenCLIP and timm each read a folder of their own kind.
        config = "open_clip_config.json" if self.encoder.has_text else "config.json"
        return Path(self.folder, f"{self.encoder.name}-{self.hash}", config)


_MAKES_A_PLAN = {"population", "batch_size", "epochs", "clip_norm", "microbatch_size", "delta", "accountant"}


class PlanFile(Artefact):
    """The noise calibrated for one target: see `dpmix.privacy.plan.Plan`."""

    folder: ClassVar[str] = "plans"
    semantics: int = SEMANTICS
    population: int
    batch_size: int
    epochs: int
    clip_norm: float
    microbatch_size: int
    epsilon: Epsilon
    delta: float
    accountant: Literal["rdp", "prv", "pld"]
    bands: int = 1

    @override
    def key(self) -> dict[str, Any]:
        return _without_defaults(self, "bands")

    def calibrated(self) -> "Plan":
        """The plan with the least noise that meets the target.

        Raises:
            PrivacyError: a target that the accountant cannot certify.
        """
        from dpmix.privacy.matrix_factorization import banded_plan
        from dpmix.privacy.plan import Plan

        values = self.model_dump(include={*_MAKES_A_PLAN, "epsilon"})
        return banded_plan(**values, bands=self.bands) if self.bands > 1 else Plan.calibrated(**values)

    def difference(self, plan: "Plan") -> str | None:
        """In what a plan is not what this file should hold; None if it is."""
        from dpmix.privacy.plan import Plan

        steps = Plan.make(**self.model_dump(include=_MAKES_A_PLAN), noise_multiplier=1.0).steps
        wanted = {
            "population": self.population,
            "batch_size": self.batch_size,
            "steps": steps,
            "clip_norm": self.clip_norm,
            "microbatch_size": self.microbatch_size,
            "target_epsilon": self.epsilon,
            "delta": self.delta,
            "accountant": self.accountant,
            "bands": self.bands,
        }
        for name, value in wanted.items():
            if (found := getattr(plan, name)) != value:
                return f"its {name} is {found}, not {value}"
        return None

    @override
    def job_share(self) -> JobShare:
        return JobShare("plan", "", "", "")  # many take no time

    @override
    def path(self, scale: str) -> Path:
        name = f"n{self.population}-b{self.batch_size}-e{self.epochs}-eps{number(self.epsilon)}-{self.hash}.json"
        return Path("results", scale, self.folder, name)


# The fields of an experiment that its views are made of, and what `ViewSettings` calls them.
OF_VIEWS = {
    "k_base": "k_base",
    "k_diff": "k_diff",
    "k_self": "k_self",
    "mixup_alpha": "alpha",
    "mixup_pairs": "pairs",
    "mixing": "mixing",
    "transforms": "transforms",
    "padding": "padding",
    "augment_synthetic": "augment_synthetic",
    "microbatch_size": "microbatch_size",
    "microbatch_mixup": "microbatch_mixup",
}


class Experiment(Artefact):
    """Everything that determines one trained model and the number in its cell (design: one run, one seed)."""

    folder: ClassVar[str] = "runs"
    # Options that came after the first results: as long as they are off, a run keeps the path that it had before them.
    added: ClassVar[tuple[str, ...]] = ("bands", "clipping", "precision", "ema_decay", "mixing", "release")
    semantics: int = SEMANTICS
    dataset: DatasetSpec
    model: ModelSpec
    method: str
    synthetic: SyntheticSet | None
    epsilon: Epsilon
    delta: float
    accountant: Literal["rdp", "prv", "pld"]
    clip_norm: float
    clipping: Literal["flat", "auto-s", "per-layer"] = "flat"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    bands: int = 1
    batch_size: int
    epochs: int
    learning_rate: "float | Selection | None"
    momentum: float = 0.0
    weight_decay: float = 0.0
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    k_base: int
    k_self: int = 0
    k_diff: int = 0
    mixup_alpha: float = 0.2
    mixup_pairs: Literal["distinct", "independent"] = "distinct"
    mixing: Literal["mixup", "cutmix"] = "mixup"
    transforms: tuple[str, ...] = ()
    padding: int = 0
    augment_synthetic: bool = True
    microbatch_size: int = 1
    microbatch_mixup: Literal["none", "added", "alone"] = "none"
    pretrain_epochs: int = 0
    subset: Literal["all", "S1"] = "all"
    mix_with: Literal["synthetic", "S2"] = "synthetic"
    holdout: float = Field(default=0.0, ge=0, lt=1)
    release: bool = False
    seed: int

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        where = f"{self.dataset.name}, {self.model.name}, {self.method}"
        try:
            _ = self.view_settings
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if self.batch_size > self.population:
            of = "images that the tuning run trains on" if self.holdout else "training images"
            raise ValueError(f"{where}: batch_size {self.batch_size} exceeds the {self.population} {of}; lower it")
        if self.bands > 1 and self.microbatch_size > 1:
            raise ValueError(f"{where}: banded noise is not accounted for with microbatches; set bands: 1")
        if self.bands * self.batch_size > self.population:
            raise ValueError(
                f"{where}: {self.bands} bands sample from {self.population // self.bands} images at a time, fewer than "
                f"batch_size {self.batch_size}; lower one of them"
            )
        for name in self.transforms:
            if name not in TRANSFORMS:
                raise ValueError(f"{where}: unknown transform {name!r}; {suggestion(name, sorted(TRANSFORMS))}")
        if self.mixes_in_synthetic and self.synthetic is None:
            raise ValueError(f"{where}: k_diff > 0 needs a synthetic set")
        pool = self.dataset.train // 2 if self.mix_with == "S2" else self.synthetic_size
        if self.k_diff > pool:
            raise ValueError(f"{where}: k_diff {self.k_diff} exceeds the {pool} images to draw from; lower it")
        if self.k_diff and self.mix_with == "S2" and self.subset != "S1":
            raise ValueError(f"{where}: mix_with: S2 mixes in the half that is not trained on; set subset: S1")
        if isinstance(self.model, EncoderSpec) and self.microbatch_size > 1:
            raise ValueError(f"{where}: microbatches are for models trained from scratch")
        if isinstance(self.model, EncoderSpec) and self.precision != "float32":
            raise ValueError(
                f"{where}: precision is for models trained from scratch; a frozen encoder's is encoder_precision under "
                "bundle, so remove it"
            )
        if isinstance(self.model, WideResNetSpec) and isinstance(self.learning_rate, Selection):
            raise ValueError(
                f"{where}: a network trained from scratch needs learning_rate as a number, or one for each ε"
            )
        if self.release and (why := objection({name: getattr(self, name) for name in type(self).model_fields})):
            raise ValueError(f"{where}: release: {why}")
        if isinstance(self.model, WideResNetSpec) and self.pretrain_epochs:
            raise ValueError(f"{where}: pretrain_epochs is for encoders with a linear head")
        return self

    @property
    def subset_size(self) -> int:
        """Published records of the training set or of its half S1, before any are held out."""
        return self.dataset.train // 2 if self.subset == "S1" else self.dataset.train

    @property
    def held_out_size(self) -> int:
        """How many of them a tuning run keeps aside."""
        return round(self.holdout * self.subset_size)

    @property
    def population(self) -> int:
        """N: how many records are sampled from. A public constant of the run."""
        return self.subset_size - self.held_out_size

    @property
    def synthetic_size(self) -> int:
        """|D|: where S1 alone is private, no more of D is used than S1 has images (appendix B.1 of the paper)."""
        if self.synthetic is None:
            return 0
        return min(self.synthetic.size, self.subset_size) if self.subset == "S1" else self.synthetic.size

    @property
    def private_seed(self) -> int | None:
        """Where sample and noise come from: the seed, or for a release, None: the operating system's entropy."""
        return None if self.release else self.seed

    @property
    def views(self) -> int:
        """K, the augmentation multiplicity."""
        return self.view_settings.views

    @property
    def view_settings(self) -> ViewSettings:
        """What the views of one example are made of.

        Raises:
            ValueError: if it does not fit together.
        """
        return ViewSettings(**{name: getattr(self, field) for field, name in OF_VIEWS.items()})

    @property
    def mixes_in_synthetic(self) -> bool:
        """Whether images of D are among the views."""
        return self.k_diff > 0 and self.mix_with == "synthetic"

    @property
    def uses_synthetic(self) -> bool:
        """Whether D has a part in the result: in the views, in pretraining, or in how features are standardised."""
        standardized = isinstance(self.model, EncoderSpec) and self.model.standardize == "public"
        return self.mixes_in_synthetic or self.pretrain_epochs > 0 or standardized

    def canonical(self) -> Self:
        """This run with all that does not determine its result at its default.

        Two runs with one canonical form are one. What matters to the views, the views themselves know.
        """
        views = self.view_settings.canonical()
        changes: dict[str, Any] = {field: getattr(views, name) for field, name in OF_VIEWS.items()}
        if not self.k_diff:
            changes["mix_with"] = "synthetic"
        if not self.uses_synthetic:
            changes["synthetic"] = None
        if isinstance(self.model, EncoderSpec) and self.clipping == "per-layer":
            changes["clipping"] = "flat"  # a linear head is one layer
        if all(getattr(self, field) == value for field, value in changes.items()):
            return self
        return self.model_copy(update=changes)

    @override
    def key(self) -> dict[str, Any]:
        return dict(self._key)

    # A run's key is part of those of its selection and gradient record, and of its stream.
    @cached_property
    def _key(self) -> dict[str, Any]:
        key = _without_defaults(self.canonical(), *self.added)
        if self.epsilon == math.inf:  # no noise is calibrated, by no accountant, for no δ
            del key["accountant"], key["delta"]
        return key

    def stream(self) -> str:
        """The hash of all that determines the views: runs that share it can be trained side by side as heads.

        Networks from scratch share nothing worth sharing, and a model for release must share nothing: were two trained
        on one secret sample, their joint ε would exceed the sum of their own. Each is a stream of its own.
        """
        if self.release or isinstance(self.model, WideResNetSpec):
            return self.hash
        return self._stream

    @cached_property
    def _stream(self) -> str:
        heads = ("epsilon", "delta", "accountant", "clip_norm", "learning_rate", "momentum", "weight_decay")
        return digest({name: value for name, value in self._key.items() if name not in heads})

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
        """The noise calibrated for this run, shared by every run with the same target."""
        return PlanFile(
            population=self.population,
            batch_size=self.batch_size,
            epochs=self.epochs,
            clip_norm=self.clip_norm,
            microbatch_size=self.microbatch_size,
            epsilon=self.epsilon,
            delta=self.delta,
            accountant=self.accountant,
            bands=self.bands,
        )

    @override
    def inputs(self) -> list[Artefact]:
        made: list[Artefact | None] = [self.images(), self.encoder(), self.synthetic_images(), self.plan()]
        if isinstance(self.learning_rate, Selection):
            made.append(self.learning_rate)
        return [artefact for artefact in made if artefact is not None]

    @override
    def job_share(self) -> JobShare:
        return JobShare("run", self.model.name, str(self.seed), self.stream())

    def directory(self, scale: str) -> Path:
        """The folder of everything that this run leaves."""
        ks = f"k{self.k_base}-{self.k_self}-{self.k_diff}"
        name = f"eps{number(self.epsilon)}-{ks}-seed{self.seed}-{self.hash}"
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
        return self.experiment.job_share()._replace(work="tune")

    @override
    def path(self, scale: str) -> Path:
        e = self.experiment
        name = f"eps{number(e.epsilon)}-k{e.k_base}-{e.k_self}-{e.k_diff}-{self.hash}.json"
        return Path("results", scale, self.folder, e.dataset.name, e.model.name, e.method, name)


class GradientRecord(Artefact):
    """Per-parameter gradient magnitudes of one run, before clipping (Figure 2)."""

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


class ZeroShot(Artefact):
    """Test accuracy of an encoder's own text tower, asked for the classes by name: no private image is used."""

    folder: ClassVar[str] = "runs"
    semantics: int = SEMANTICS
    dataset: DatasetSpec
    model: EncoderSpec
    prompts: tuple[str, ...]

    @override
    def key(self) -> dict[str, Any]:
        determining = super().key()
        determining["model"].pop("standardize")  # features are compared with text as they are
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
    """One Fréchet distance: views of the training set, a split, or D, against a split (Tables 7 and 8)."""

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

    @model_validator(mode="after")
    def _of_the_whole_training_set(self) -> Self:
        run = self.views
        if run is not None and (run.subset, run.mix_with, run.microbatch_size) != ("all", "synthetic", 1):
            raise ValueError(
                "distances are of single examples' views of the whole training set; leave out subset, mix_with and "
                "microbatch_size"
            )
        return self

    @override
    def key(self) -> dict[str, Any]:
        # Of an experiment, only its views matter here; of an extractor, the plain encoder.
        views = asdict(self.views.view_settings.canonical()) if self.views else None
        key = {**super().key(), "views": views}
        if self.extractor:
            key["extractor"] = _encoder_key(self.extractor)
        if not self.uses_synthetic:
            key.pop("synthetic")
        return key

    @property
    def uses_synthetic(self) -> bool:
        """Whether D is one of the two sets, or among the views."""
        return "synthetic" in (self.first, self.second) or (self.views is not None and self.views.k_diff > 0)

    @override
    def inputs(self) -> list[Artefact]:
        made: list[Artefact] = [ImageStore(dataset=self.dataset, resolution=self.resolution)]
        if self.extractor:
            made.append(EncoderModel(encoder=self.extractor))
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


Experiment.model_rebuild()
