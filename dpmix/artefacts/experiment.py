"""Specifications of what is trained: a run, the choice of a learning rate, and a record of gradient magnitudes."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator
from typing_extensions import override

from dpmix.artefacts.base import SEMANTICS, Artefact, JobShare, digest, number
from dpmix.artefacts.data import SyntheticSet
from dpmix.artefacts.entries import of_run
from dpmix.artefacts.fitting import unfit
from dpmix.artefacts.run_values import RunValues
from dpmix.params.models import ModelSpec
from dpmix.params.settings import OF_HEADS, OF_VIEWS, default
from dpmix.params.specs import DatasetSpec

# Whose code trains; what images, encoders and plans are made by comes with these.
_TRAINING = ("makers.runs", "artefacts.run_values", "training", "views", "models", "data", "privacy", "random")


class Experiment(RunValues, Artefact):
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
    def _views_vary(self) -> bool:
        """Whether two draws of an example's views can differ."""
        views = self.view_settings.canonical()
        drawn = views.transforms and views.k_base, views.k_self and views.views > 2, views.k_diff, self.unit == "person"
        return any(drawn)

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
        if not self._views_vary:
            changes["view_sets"] = default("view_sets")
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
    def entries(self) -> tuple[str, ...]:
        return of_run(self.canonical())

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

    @override
    def inputs(self) -> list[Artefact]:
        return list(self._inputs)

    @cached_property
    def _inputs(self) -> tuple[Artefact, ...]:
        made: list[Artefact | None] = [self.images(), self.encoder(), self.synthetic_images(), self.plan()]
        if isinstance(self.learning_rate, Selection):
            made.append(self.learning_rate)
        return tuple(artefact for artefact in made if artefact is not None)

    def with_seed(self, seed: int) -> Self:
        """This run with another seed: equal to one that is made with it, and quicker, as only its hash is new.

        Args:
            seed: of the run.
        """
        copied = self.model_copy(update={"seed": seed})
        # Neither what it is made from nor any other entry of its key depends on the seed.
        copied.__dict__.update(_key={**self._key, "seed": seed}, _inputs=self._inputs)
        return copied

    @override
    def job_share(self) -> JobShare:
        # JAX compiles for a second or ten, and for all runs of a process: there the seeds share one.
        seed = "" if self.engine == "jax" else str(self.seed)
        # A network from scratch takes longest: were it started last, a core would be idle at the end.
        # Features of crops are kept for all heads on the same images, but for none of a model for release.
        images = self.images().hash if self.model.frozen and not self.release else ""
        return JobShare("run", self.model.name, seed, self.stream(), images, priority=int(not self.model.frozen))

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
    def entries(self) -> tuple[str, ...]:
        return of_run(self.experiment.canonical())

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
    def entries(self) -> tuple[str, ...]:
        return of_run(self.experiment.canonical())

    @override
    def path(self, scale: str) -> Path:
        return self.experiment.directory(scale) / "gradients.npz"


Experiment.model_rebuild()
