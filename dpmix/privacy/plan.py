"""The plan of a private run: one frozen value that the trainer executes and the accountant reads.

**Units.** What is Poisson-sampled is a unit: an example, or a microbatch of examples that was fixed in advance. The
plan's numbers are public constants of the run; none is derived from the private records.

**Sensitivity.** With units of one example, removing it removes a vector of norm at most C from the sum: adjacency is
add/remove, sensitivity C. With microbatches the private record is still one example, and removing it changes its
microbatch's clipped gradient from some g to some g', each of norm at most C. Given the rest, one step's outputs are

    P = (1 - q) N(0, s²) + q N(g, s²)      and      Q = (1 - q) N(0, s²) + q N(g', s²),

a replacement. Its worst case is g = -g' = C along one line: with H_ε the hockey-stick divergence, for ε >= 0 advanced
joint convexity (Balle et al., NeurIPS 2018) turns H_ε(P, Q) into q H_a(N(g), (1 - β) N(0) + β N(g')) for some a, β that
depend on ε and q alone, which is the expectation of a convex function of a weighted sum of two likelihood ratios; a sum
with given marginals is largest in convex order when they are comonotone, that is collinear, and then grows with ||g||
and ||g - g'||. Negative ε follow by exchanging P and Q. So the pair

    P* = (1 - q) N(0, s²) + q N(C, s²)     and     Q* = (1 - q) N(0, s²) + q N(-C, s²)

dominates at every ε, hence in every composition (Zhu et al., AISTATS 2022). The plan accounts the step instead as
add/remove with sensitivity 2C, R = (1 - q) N(0, s²) + q N(2C, s²) against Z = N(0, s²), which every accountant knows.
At every ε >= 0, H_ε(P*, Q*) <= q H_a(N(2C, s²), N(0, s²)) = H_ε(R, Z), again by convexity, which settles a single step.
It does not settle many, because compositions also depend on ε < 0, where the order is reversed. That the accounting at
2C stays above the composed P*, Q* is therefore computed: for every calibrated plan, and in `tests/privacy/test_plan.py`
over rates, noises, numbers of steps and Rényi orders. Its price is an ε too large by 0.1 % to 10 % for long runs, and
more for short ones.

Long because a plan is one value: what has to fit together in it, and all that a run and its accountant ask of it.
"""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NotRequired, Self, TypedDict

from dpmix.errors import ParamsError, PrivacyError, suggestion
from dpmix.privacy.accounting import (
    ACCOUNTANTS,
    Steps,
    composed_epsilon,
    composed_epsilons,
    replacement_epsilon,
    rounded_up,
)
from dpmix.privacy.calibration import noise_multiplier

if TYPE_CHECKING:
    from dpmix.privacy.model_mix import MixingSource
    from dpmix.privacy.model_mix_accounting import MixedSteps
    from dpmix.privacy.noise import NoiseSource
    from dpmix.privacy.sampling import Sampler


class Target(TypedDict):
    """What noise is calibrated for: the arguments of `Plan.calibrated`.

    >>> target: Target = {
    ...     "population": 100, "batch_size": 50, "epochs": 2, "clip_norm": 1.0, "epsilon": 4, "delta": 1e-3
    ... }
    >>> Plan.calibrated(**target).target_epsilon
    4
    """

    population: int
    batch_size: int
    epochs: float | Fraction
    clip_norm: float
    epsilon: float
    delta: float
    accountant: NotRequired[str]
    microbatch_size: NotRequired[int]


UNITS = ("image", "person")

_USUAL = {"population": 50_000, "batch_size": 256, "steps": 1000, "microbatch_size": 1}


@dataclass(frozen=True)
class Plan:
    """Sampling, sensitivity, noise and number of steps of one run: everything that its ε depends on.

    Attributes:
        population: N, the published number of training examples.
        batch_size: B, the expected number of examples of a logical batch.
        steps: T, logical steps, empty ones included.
        clip_norm: C, bound on the norm of one unit's gradient.
        noise_multiplier: σ, the noise's standard deviation in units of `sensitivity`; 0 trains without privacy.
        delta: δ of the guarantee.
        target_epsilon: ε that the run must not exceed; infinite for a run without privacy or without a target.
        accountant: the one that σ was calibrated with and the run is held to.
        microbatch_size: examples of one unit, the group that is sampled and clipped together.
        unit: what an example is, whose adding or removing ε bounds: an `image`, or a `person` with all their images.
            Noise and ε do not depend on it; it says whom they protect.

    Raises:
        ParamsError: values that do not fit together.

    >>> plan = Plan.calibrated(population=100, batch_size=50, epochs=2, clip_norm=0.5, epsilon=4, delta=1e-3)
    >>> plan.steps, plan.sampling_rate, plan.sensitivity
    (4, 0.5, 0.5)
    >>> round(plan.noise_multiplier, 2)
    1.08
    """

    population: int
    batch_size: int
    steps: int
    clip_norm: float
    noise_multiplier: float
    delta: float
    target_epsilon: float = math.inf
    accountant: str = "pld"
    microbatch_size: int = 1
    unit: str = "image"

    def __post_init__(self) -> None:
        for name in ("population", "batch_size", "steps", "microbatch_size"):
            value = getattr(self, name)
            try:
                whole = 0 if isinstance(value, bool) else operator.index(value)
            except TypeError:
                whole = 0
            if whole < 1:
                raise ParamsError(f"{name} {value!r} is not a whole number above 0; give one such as {_USUAL[name]}")
            object.__setattr__(self, name, whole)  # a NumPy integer, too, is kept as one that JSON can hold
        if self.batch_size > self.population:
            raise ParamsError(
                f"batch size {self.batch_size} exceeds the {self.population} examples of the data; lower the batch size"
            )
        if self.microbatch_size > self.batch_size:
            raise ParamsError(
                f"microbatches of {self.microbatch_size} exceed the batch size {self.batch_size}; lower microbatch_size"
            )
        if not 0 < self.clip_norm < math.inf:
            raise ParamsError(f"clip norm {self.clip_norm} is not a finite number above 0; give one, such as 1")
        if not 0 <= self.noise_multiplier < math.inf:
            raise ParamsError(
                f"noise multiplier {self.noise_multiplier} is not a finite number >= 0; give one, such as 1"
            )
        if not 0 < self.delta < 1:
            raise ParamsError(f"delta {self.delta} is not between 0 and 1; choose one well below 1 / N, such as 1e-5")
        if not self.target_epsilon > 0:
            raise ParamsError(f"epsilon {self.target_epsilon} is not above 0; use inf to train without privacy")
        if self.noise_multiplier == 0 and self.target_epsilon < math.inf:
            raise ParamsError(
                f"no noise cannot meet epsilon {self.target_epsilon:g}; calibrate it, or ask for epsilon inf"
            )
        if self.unit not in UNITS:
            raise ParamsError(f"unknown unit {self.unit!r}; {suggestion(self.unit, UNITS)}")
        if self.unit == "person" and self.microbatch_size > 1:
            raise ParamsError("a person is not sampled in microbatches; use microbatch_size 1, or unit image")
        if self.accountant not in ACCOUNTANTS:
            raise ParamsError(f"unknown accountant {self.accountant!r}; {suggestion(self.accountant, ACCOUNTANTS)}")

    @classmethod
    def make(
        cls,
        *,
        population: int,
        batch_size: int,
        epochs: float | Fraction,
        clip_norm: float,
        noise_multiplier: float,
        delta: float,
        epsilon: float = math.inf,
        accountant: str = "pld",
        microbatch_size: int = 1,
    ) -> Self:
        """A plan with given noise and T = floor(epochs × N / B) steps. Arguments are the attributes of the class.

        T is computed exactly; 0.1 epochs are one tenth. (Opacus rounds 1 / q to a whole number: 200 epochs of batches
        of 4096 out of 50,000 are 2600 steps at q = 1/13 there, and 2441 steps at q = 0.08192 here.)

        Args:
            epochs: expected passes over the data.
            epsilon: ε that the run must not exceed; infinite for no target. Not checked here, but by `check`.

        Raises:
            ParamsError: values that do not fit together, or less than one step.
        """
        plan = cls(
            population=population,
            batch_size=batch_size,
            steps=1,
            clip_norm=clip_norm,
            noise_multiplier=noise_multiplier,
            delta=delta,
            target_epsilon=epsilon,
            accountant=accountant,
            microbatch_size=microbatch_size,
        )
        return replace(plan, steps=_steps(population, batch_size, epochs))

    @classmethod
    def calibrated(
        cls,
        *,
        population: int,
        batch_size: int,
        epochs: float | Fraction,
        clip_norm: float,
        epsilon: float,
        delta: float,
        accountant: str = "pld",
        microbatch_size: int = 1,
    ) -> Self:
        """The plan with the least noise that meets (`epsilon`, `delta`), by `accountant`; the rest as of `make`.

        An infinite `epsilon` means no noise: a run without privacy.

        Raises:
            ParamsError: values that do not fit together.
            PrivacyError: a target that the accountant cannot certify.
        """
        # Built once before the search, with any noise, so that what does not fit together is told at once.
        plan = cls.make(
            population=population,
            batch_size=batch_size,
            epochs=epochs,
            clip_norm=clip_norm,
            noise_multiplier=any_noise(epsilon),
            epsilon=epsilon,
            delta=delta,
            accountant=accountant,
            microbatch_size=microbatch_size,
        )
        rate, steps = plan.sampling_rate, plan.steps
        if epsilon == math.inf:
            return plan
        sigma = noise_multiplier(accountant, epsilon=epsilon, delta=delta, sampling_rate=rate, steps=steps)
        plan = replace(plan, noise_multiplier=sigma)
        plan.check()
        return plan

    @property
    def sampling_rate(self) -> float:
        """The rate q = B / N at which every unit is sampled at every step."""
        return self.batch_size / self.population

    @property
    def units(self) -> int:
        """The number of units to sample from, ⌈N / microbatch_size⌉; the last microbatch may have empty slots."""
        return -(-self.population // self.microbatch_size)

    @property
    def expected_units(self) -> float:
        """B / microbatch_size, the fixed number by which every noisy sum is divided, whatever was sampled."""
        return self.batch_size / self.microbatch_size

    @property
    def sensitivity(self) -> float:
        """How far one record can move the clipped sum in L2 norm: C, or 2C with microbatches (see the module)."""
        return self.clip_norm if self.microbatch_size == 1 else 2 * self.clip_norm

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise on every entry of the clipped sum, once per logical batch."""
        return self.noise_multiplier * self.sensitivity

    @property
    def private(self) -> bool:
        """Whether the run adds noise at all."""
        return self.noise_multiplier > 0

    @property
    def bands(self) -> int:
        """The number of steps over which noise is correlated; 1 means that steps are independent."""
        return 1

    @property
    def least_gap(self) -> int:
        """The least number of steps after which a unit may be taken again; 1 if it may be in every step."""
        return self.bands

    @property
    def noise_column(self) -> tuple[float, ...]:
        """How noise is correlated over steps: c, such that z_t = Σ_j c_j y_{t-j} is independent for added noise y.

        (1,) where noise is independent. `dpmix.privacy.matrix_factorization` has others.
        """
        return (1.0,)

    @property
    def step_rate(self) -> float:
        """The probability with which a step takes each of its candidates: q, where all units are candidates."""
        return self.sampling_rate

    def sampler(self, seed: int | None) -> "Sampler":
        """The sampler of a run: it draws from the seed, or with None from the operating system's entropy."""
        from dpmix.privacy.sampling import PoissonSampler

        return PoissonSampler(self.units, self.step_rate, seed)

    def noise(self, seed: int | None) -> "NoiseSource":
        """The noise source of one model: it draws from the seed, or with None from the operating system's entropy."""
        from dpmix.privacy.noise import SecureNoise, SeededNoise

        return SecureNoise() if seed is None else SeededNoise(seed)

    def mixing(self, seed: int | None) -> "MixingSource | None":
        """What mixes released states, as `noise` is drawn; None for SGD, which mixes none. See `ModelMixPlan`."""
        return None

    @property
    def mixed_as(self) -> tuple[float, float] | None:
        """Width and truncation of every step, as in `MixedSteps`; None where states are not mixed."""
        return None

    def accounted(self, executed: Iterable[Steps]) -> list[Steps]:
        """The mechanisms that an accountant composes for the steps executed: as many as one record can have been in.

        Those are all of them, where a record may be taken in every step, and else one in `least_gap`, rounded up. If
        the steps then differ in noise or rate, each is counted with the smallest noise and the highest rate among them,
        which can only overstate ε.
        """
        rows = [row for row in executed if row.steps]
        if self.least_gap == 1 or not rows:
            return rows
        participations = -(-sum(row.steps for row in rows) // self.least_gap)
        return [
            Steps(min(row.noise_multiplier for row in rows), max(row.sampling_rate for row in rows), participations)
        ]

    def epsilons(self) -> dict[str, float]:
        """ε by accountant of the planned steps, without accountants that cannot evaluate them; infinite without noise.

        This is what a run would spend. What it did spend is in its ledger (`dpmix.privacy.ledger`).
        """
        return self.spent([self._planned()], self._planned_mixed())

    def spent(self, executed: Iterable[Steps], mixed: "Sequence[MixedSteps]" = ()) -> dict[str, float]:
        """ε by accountant of the steps executed, without accountants that cannot evaluate them.

        Args:
            executed: the steps.
            mixed: those of them that mixed released states, which only `ModelMixPlan` makes use of.
        """
        return composed_epsilons(self.accounted(executed), delta=self.delta)

    def stated(self, executed: Iterable[Steps], mixed: "Sequence[MixedSteps]" = ()) -> tuple[str, float]:
        """The ε that a run of these steps is held to, after the name of what computed it: the plan's accountant.

        Raises:
            PrivacyError: if it cannot evaluate them.
        """
        return self.accountant, composed_epsilon(self.accountant, self.accounted(executed), delta=self.delta)

    def check(self) -> None:
        """Compute ε of the planned steps anew, by the plan's accountant, and compare it with the target.

        For a plan from a file, whose noise someone may have edited. With microbatches the exact worst case is compared
        too (`replacement_epsilon`).

        Raises:
            PrivacyError: if ε is above the target.
        """
        if self.target_epsilon == math.inf:
            return
        by, spent = self.stated([self._planned()], self._planned_mixed())
        if not spent <= self.target_epsilon:
            raise PrivacyError(
                f"noise multiplier {self.noise_multiplier:g} for {self.steps} steps at rate {self.sampling_rate:g} "
                f"spends epsilon {rounded_up(spent, 6)} ({by}), above the target {self.target_epsilon:g}; "
                "calibrate the noise again"
            )
        if self.microbatch_size > 1:
            sigma, rate, steps = self._planned()
            exact = replacement_epsilon(noise_multiplier=sigma, sampling_rate=rate, steps=steps, delta=self.delta)
            if not exact <= self.target_epsilon:
                raise PrivacyError(
                    f"accounting microbatches at twice the clip norm would exceed epsilon {self.target_epsilon:g} "
                    f"(exact: {rounded_up(exact, 6)}); use microbatch_size 1"
                )

    def _planned(self) -> Steps:
        return Steps(self.noise_multiplier, self.step_rate, self.steps)

    def _planned_mixed(self) -> "list[MixedSteps]":
        from dpmix.privacy.model_mix_accounting import MixedSteps

        return [MixedSteps(*self._planned(), *self.mixed_as)] if self.mixed_as else []

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, an infinite ε being the string "inf"."""
        return {**asdict(self), "target_epsilon": _plain(self.target_epsilon)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The plan that `to_json` described.

        Raises:
            ParamsError: missing or unknown fields, or values that do not fit together.
        """
        try:
            given = dict(values)
            unknown = sorted(given.keys() - {f.name for f in fields(cls)})
            if unknown:
                raise TypeError(f"unknown {', '.join(unknown)}")
            given["target_epsilon"] = float(given["target_epsilon"])
            return cls(**given)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ParamsError(f"this is not a privacy plan ({error}); delete its file and make it again") from error


def any_noise(epsilon: float) -> float:
    """The noise multiplier of a plan before it is calibrated for ε: any, or none for an infinite ε.

    >>> any_noise(4), any_noise(math.inf)
    (1.0, 0.0)
    """
    return 0.0 if epsilon == math.inf else 1.0


def _steps(population: int, batch_size: int, epochs: float | Fraction) -> int:
    try:
        steps = int(Fraction(str(epochs)) * population // batch_size)
    except (ValueError, ZeroDivisionError) as error:
        raise ParamsError(f"{epochs} epochs of batches of {batch_size} is no number of steps; mend them") from error
    if steps < 1:
        raise ParamsError(
            f"{epochs} epochs of {population} examples in batches of {batch_size} make no step; train for longer"
        )
    return steps


def _plain(value: float) -> float | str:
    return "inf" if value == math.inf else value
