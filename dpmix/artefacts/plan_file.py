"""A privacy plan as a file: the noise that meets a target (ε, δ), shared by all runs with this target."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from dpmix.artefacts.base import SEMANTICS, Artefact, JobShare, number
from dpmix.params.settings import PlanSettings

if TYPE_CHECKING:
    from dpmix.privacy.plan import Plan

_OF_MODEL_MIX = {"mix_width", "truncation"}

_MAKES_A_PLAN = {"population", *PlanSettings.model_fields} - {
    "epsilon", "unit", "bands", "batches", "update", "calibration", *_OF_MODEL_MIX,
}  # fmt: skip


class PlanFile(PlanSettings, Artefact):
    """A privacy target: what `dpmix.privacy.plan.Plan` is calibrated for. The file holds the plan.

    Attributes:
        population: N, images or persons that steps sample from. The other fields are `PlanSettings`.
    """

    folder: ClassVar[str] = "plans"
    semantics: int = SEMANTICS
    population: int

    def calibrated(self) -> "Plan":
        """The plan that meets the target with the least noise, or with the noise that `calibration` asks for.

        With `matched` the noise multiplier is √(σ² + w² / 12), for ModelMix's own σ and the width w of its mixing in
        units of C: as much variance as Gaussian noise and mixing have together. Its ε is smaller than the target.

        Raises:
            PrivacyError: a target that the accountant cannot certify.
        """
        return replace(self._calibrated(), unit=self.unit)

    def _calibrated(self) -> "Plan":
        from dpmix.privacy.banded_plan import banded_plan
        from dpmix.privacy.fixed_order import fixed_order_plan
        from dpmix.privacy.model_mix_plan import model_mix_plan
        from dpmix.privacy.plan import Plan

        values = self.model_dump(include={*_MAKES_A_PLAN, "epsilon"})
        if self.batches == "fixed-order":
            return fixed_order_plan(**values)
        if self.update == "model-mix" or self.calibration == "matched":
            mixing = model_mix_plan(**values, **self.model_dump(include=_OF_MODEL_MIX))
            if self.calibration == "least":
                return mixing
            plain = Plan.calibrated(**values)
            if self.calibration == "accountant":
                return replace(mixing, noise_multiplier=plain.noise_multiplier)
            return replace(plain, noise_multiplier=math.hypot(mixing.noise_multiplier, mixing.width / math.sqrt(12)))
        return banded_plan(**values, bands=self.bands) if self.bands > 1 else Plan.calibrated(**values)

    def difference(self, plan: "Plan") -> str | None:
        """The first way in which a plan differs from this target, in words; None if it differs in nothing."""
        from dpmix.privacy.fixed_order import FixedOrderPlan, batches
        from dpmix.privacy.plan import Plan

        steps = Plan.make(**self.model_dump(include=_MAKES_A_PLAN), noise_multiplier=1.0).steps
        wanted = {
            "unit": self.unit,
            "population": self.population,
            "batch_size": self.batch_size,
            "steps": steps,
            "clip_norm": self.clip_norm,
            "microbatch_size": self.microbatch_size,
            "target_epsilon": self.epsilon,
            "delta": self.delta,
            "accountant": self.accountant,
            "bands": self.bands,
            "mixed_as": self._mixed_as(),
        }
        if self.batches == "fixed-order":
            # Its ε is not the nominal one, which is what the run asks for.
            steps = int(self.epochs) * batches(self.population, self.batch_size)
            wanted |= {"steps": steps, "nominal_epsilon": wanted.pop("target_epsilon")}
            if not isinstance(plan, FixedOrderPlan):
                return "its batches are Poisson samples, not in a fixed order"
        elif isinstance(plan, FixedOrderPlan):
            return "its batches are in a fixed order, not Poisson samples"
        for name, value in wanted.items():
            if (found := getattr(plan, name)) != value:
                return f"its {name} is {found}, not {value}"
        return None

    def _mixed_as(self) -> tuple[float, float] | None:
        if self.update == "sgd":
            return None
        return self.mix_width * (self.batch_size / self.microbatch_size) / self.clip_norm, self.truncation

    @override
    def job_share(self) -> JobShare:
        return JobShare("plan", "", "", "")  # one job for all, since each takes little time

    @override
    def rooms(self) -> tuple[str, ...]:
        return ("makers.runs", "artefacts.plan_file", "privacy")

    @override
    def path(self, scale: str) -> Path:
        target = f"{self.epsilon_word}{number(self.epsilon)}"
        name = f"n{self.population}-b{self.batch_size}-e{self.epochs}-{target}-{self.hash}.json"
        return Path("results", scale, self.folder, name)
