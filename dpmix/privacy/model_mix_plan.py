"""Plans of ModelMix: calibrated and held to the smaller of two bounds on ε, by what was executed.

Of the conditions of amplification (Theorem B, `dpmix.privacy.model_mix_accounting`), a run that breaks one is refused,
as it is not ModelMix then, whichever bound is the smaller: a parameter that was not mixed; distances, τ / η or a
truncation below the plan's; a momentum buffer; α that is not uniform or not fresh; noise or samples as for every plan.
Microbatches and correlated noise are refused at once. Averages of the weights, accuracies and heavy ball are computed
from released states, and weight decay acts on one: all of these change neither bound.
"""

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

from typing_extensions import override

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accounting import Steps
from dpmix.privacy.calibration import noise_multiplier
from dpmix.privacy.model_mix_accounting import AMPLIFIED, MixedSteps, amplified_epsilon, amplified_noise
from dpmix.privacy.plan import Plan, Target, any_noise

if TYPE_CHECKING:
    from dpmix.privacy.model_mix import MixingSource


@dataclass(frozen=True)
class ModelMixPlan(Plan):
    """The plan of a run of ModelMix: a `Plan` with the width of the mixing and the bound on entries of gradients.

    Attributes:
        mix_width: τ / η > 0, the least distance of the states that are mixed, for a learning rate of 1.
        truncation: p >= 1: entries of each example's clipped gradient are within ± C / sqrt(p).

    Raises:
        ParamsError: values that do not fit together; microbatches, which the amplification is not proven for.

    >>> plan = ModelMixPlan(
    ...     population=50_000, batch_size=1500, steps=3400, clip_norm=20.0, noise_multiplier=0.335, delta=1e-5,
    ...     mix_width=0.15, truncation=100.0,
    ... )
    >>> plan.width
    11.25
    >>> plan.stated([Steps(0.335, 0.03, 3400)], [MixedSteps(0.335, 0.03, 3400, 11.25, 100.0)])[0]
    'model-mix'
    """

    mix_width: float = 0.0
    truncation: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mix_width < math.inf:
            raise ParamsError(f"mix_width {self.mix_width} is not a finite number above 0; 0.15 is usual")
        if not 1 <= self.truncation < math.inf:
            raise ParamsError(f"truncation {self.truncation} is not a finite number >= 1; 100 is usual, 1 cuts nothing")
        if self.microbatch_size > 1:
            raise ParamsError("amplification by mixing is not proven for microbatches; use microbatch_size 1")

    @property
    def width(self) -> float:
        """The width τ B / (η C) of the mixing noise on the clipped sum, in units of C."""
        return self.mix_width * self.expected_units / self.clip_norm

    @property
    @override
    def mixed_as(self) -> tuple[float, float] | None:
        return self.width, self.truncation

    @override
    def mixing(self, seed: int | None) -> "MixingSource":
        from dpmix.privacy.model_mix import SecureMixing, SeededMixing

        return SecureMixing() if seed is None else SeededMixing(seed)

    @override
    def spent(self, executed: Iterable[Steps], mixed: Sequence[MixedSteps] = ()) -> dict[str, float]:
        executed = list(executed)
        found = super().spent(executed)
        if _covers(mixed, executed):
            found[AMPLIFIED] = amplified_epsilon(mixed, delta=self.delta)
        return found

    @override
    def stated(self, executed: Iterable[Steps], mixed: Sequence[MixedSteps] = ()) -> tuple[str, float]:
        """The smaller of ε by the plan's accountant (Theorem A) and by Theorem B, where every step mixed.

        Raises:
            PrivacyError: if some step did not mix, and the accountant cannot evaluate the steps.
        """
        executed = list(executed)
        if not _covers(mixed, executed):
            return super().stated(executed)
        amplified = AMPLIFIED, amplified_epsilon(mixed, delta=self.delta)
        # Accountants fail at little noise, where amplification may still give a bound.
        with contextlib.suppress(PrivacyError):
            return min(super().stated(executed), amplified, key=lambda one: one[1])
        return amplified


def model_mix_plan(
    *,
    mix_width: float,
    truncation: float = 1.0,
    **target: Unpack[Target],
) -> ModelMixPlan:
    """The plan of ModelMix with the least noise that meets (`epsilon`, `delta`), by Theorem A or by Theorem B.

    Args:
        mix_width: τ / η.
        truncation: p.
        **target: the arguments of `Plan.calibrated`; its accountant is that of Theorem A.

    Raises:
        ParamsError: values that do not fit together.
        PrivacyError: a target that neither bound can certify.

    >>> plan = model_mix_plan(
    ...     population=1000, batch_size=100, epochs=10, clip_norm=1, epsilon=8, delta=1e-5, accountant="rdp",
    ...     mix_width=0.1, truncation=100,
    ... )
    >>> plain = Plan.calibrated(
    ...     population=1000, batch_size=100, epochs=10, clip_norm=1, epsilon=8, delta=1e-5, accountant="rdp"
    ... )
    >>> plan.noise_multiplier < plain.noise_multiplier
    True
    """
    plain = Plan.make(**target, noise_multiplier=any_noise(target["epsilon"]))
    plan = ModelMixPlan(**asdict(plain), mix_width=float(mix_width), truncation=float(truncation))
    if not plan.private:
        return plan
    mechanism: dict[str, Any] = {
        "epsilon": plan.target_epsilon,
        "delta": plan.delta,
        "sampling_rate": plan.sampling_rate,
        "steps": plan.steps,
    }
    enough = noise_multiplier(plan.accountant, **mechanism)
    # A target below what whole orders can certify is met by the accountant's noise.
    with contextlib.suppress(PrivacyError):
        enough = min(enough, amplified_noise(**mechanism, width=plan.width, truncation=plan.truncation))
    plan = replace(plan, noise_multiplier=enough)
    plan.check()
    return plan


def _covers(mixed: Sequence[MixedSteps], executed: Sequence[Steps]) -> bool:
    """Whether all executed steps were mixed."""
    return sum(row.steps for row in mixed) == sum(row.steps for row in executed)
