"""What the settings of a run come to: how many examples it has, its seed, its views, and what it is made from.

Training goes by these, and a run's hash holds only what they follow from. So code of this module counts (`dpmix.code`),
and that of `Experiment`, which names runs and says what they need, does not.
"""

import math
from typing import TYPE_CHECKING

from dpmix.artefacts.data import EncoderModel, ImageStore, SyntheticSet, SyntheticStore
from dpmix.artefacts.plan_file import PlanFile
from dpmix.params.models import EncoderSpec, ModelSpec
from dpmix.params.settings import OF_VIEWS, PlanSettings, RunSettings, default, values_of
from dpmix.params.specs import DatasetSpec
from dpmix.views.settings import ViewSettings
from dpmix.views.union import Wanted


class RunValues(RunSettings):
    """The settings of a run with the values that follow from them; `Experiment` adds its fields, name and place."""

    if TYPE_CHECKING:
        dataset: DatasetSpec
        model: ModelSpec
        synthetic: SyntheticSet | None
        holdout: float
        seed: int

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
    def begun_epochs(self) -> int:
        """In how many equal parts of the run accuracy is measured and gradients are recorded: epochs, rounded up."""
        return math.ceil(self.epochs)

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
