"""Plans of banded matrix factorization, calibrated and accounted.

The data are in b parts that take turns, so that a record can be sampled in ⌈steps / b⌉ of the steps and no more
(`least_gap` is b): as many are composed.
"""

import math
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Literal

from typing_extensions import override

from dpmix.errors import ParamsError
from dpmix.privacy.banded_noise import BandedNoise
from dpmix.privacy.calibration import noise_multiplier
from dpmix.privacy.cyclic_sampling import CyclicSampler, check_part
from dpmix.privacy.matrix_factorization import check_bands, check_coefficients, prefix_rmse, strategy
from dpmix.privacy.noise import NoiseSource
from dpmix.privacy.plan import Plan, Target, any_noise
from dpmix.privacy.sampling import Sampler


@dataclass(frozen=True)
class BandedPlan(Plan):
    """The plan of a run with banded noise: a `Plan` whose sampler is a `CyclicSampler` and whose noise a `BandedNoise`.

    With one coefficient it is DP-SGD's plan. `banded_plan` finds the noise for a target ε.

    Attributes:
        coefficients: the first column of C, as `strategy` gives it; their number is b.

    Raises:
        ParamsError: values that do not fit together; microbatches, which are not accounted for with several bands.

    >>> plan = BandedPlan(
    ...     population=100, batch_size=10, steps=20, clip_norm=1.0, noise_multiplier=2.0, delta=1e-3,
    ...     coefficients=strategy(4, 20),
    ... )
    >>> plan.bands, plan.step_rate, plan.participations
    (4, 0.4, 5)
    >>> from dpmix.privacy.accounting import Steps
    >>> plan.accounted([Steps(noise_multiplier=2.0, sampling_rate=0.4, steps=20)])
    [Steps(noise_multiplier=2.0, sampling_rate=0.4, steps=5)]
    """

    coefficients: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "coefficients", tuple(float(value) for value in self.coefficients))
        check_coefficients(self.coefficients)
        check_part(self.population, self.batch_size, self.bands)
        if self.bands > 1 and self.microbatch_size > 1:
            raise ParamsError("banded noise is not accounted for with microbatches; use microbatch_size 1, or one band")

    @property
    @override
    def bands(self) -> int:
        """The number b of bands, and of parts of the data."""
        return len(self.coefficients)

    @property
    def part_rate(self) -> float:
        """Rate b B / N at which a step samples its part of the records; over all records the mean is B / N."""
        return self.bands * self.batch_size / self.population

    @property
    @override
    def step_rate(self) -> float:
        return self.part_rate

    @override
    def sampler(self, seed: int | None) -> Sampler:
        return CyclicSampler(self.population, self.batch_size, self.bands, seed)

    @override
    def noise(self, seed: int | None) -> NoiseSource:
        return BandedNoise(self.coefficients, seed)

    @property
    @override
    def noise_column(self) -> tuple[float, ...]:
        return self.coefficients

    @property
    def participations(self) -> int:
        """⌈T / b⌉, the largest number of participations: steps at which one record may be sampled."""
        return -(-self.steps // self.bands)


def banded_plan(
    *,
    population: int,
    batch_size: int,
    epochs: float | Fraction,
    clip_norm: float,
    epsilon: float,
    delta: float,
    bands: int,
    accountant: str = "pld",
    microbatch_size: int = 1,
    kind: Literal["optimal", "sqrt"] = "optimal",
) -> BandedPlan:
    """The plan with the least banded noise that meets (`epsilon`, `delta`); arguments as of `Plan.calibrated`.

    Raises:
        ParamsError: values that do not fit together, or what cannot be accounted: microbatches, a batch larger than a
            part of the data, more bands than steps.
        PrivacyError: a target that the accountant cannot certify.

    >>> plan = banded_plan(
    ...     population=100, batch_size=10, epochs=2, clip_norm=1.0, epsilon=8, delta=1e-3, bands=4, kind="sqrt"
    ... )
    >>> plan.steps, plan.participations, round(plan.noise_multiplier, 2)
    (20, 5, 0.68)
    """
    check_bands(bands)
    target: Target = {
        "population": population,
        "batch_size": batch_size,
        "epochs": epochs,
        "clip_norm": clip_norm,
        "epsilon": epsilon,
        "delta": delta,
        "accountant": accountant,
        "microbatch_size": microbatch_size,
    }
    if bands == 1:
        return BandedPlan(**asdict(Plan.calibrated(**target)))
    plain = asdict(Plan.make(**target, noise_multiplier=any_noise(epsilon)))
    # Everything is checked with a strategy that takes no time before the better one is computed.
    plan = BandedPlan(**plain, coefficients=strategy(bands, plain["steps"], "sqrt"))
    plan = replace(plan, coefficients=strategy(bands, plan.steps, kind))
    if epsilon == math.inf:
        return plan
    rate, participations = plan.part_rate, plan.participations
    sigma = noise_multiplier(accountant, epsilon=epsilon, delta=delta, sampling_rate=rate, steps=participations)
    return replace(plan, noise_multiplier=sigma)


def relative_rmse(plan: BandedPlan) -> float:
    """How much noise the updates' sums have beside DP-SGD's, for the same data, batches, steps and ε; below 1 is less.

    Returns:
        The ratio of the `prefix_rmse` of both, each times its noise multiplier.

    Raises:
        ParamsError: a plan without a finite ε.
        PrivacyError: an ε that DP-SGD cannot be calibrated for.

    >>> target = {"population": 1000, "batch_size": 100, "epochs": 10, "clip_norm": 1.0, "delta": 1e-3}
    >>> relative_rmse(banded_plan(**target, epsilon=50, bands=8, kind="sqrt")) < 1
    True
    """
    if not plan.private or plan.target_epsilon == math.inf:
        raise ParamsError("there is no noise to compare without a finite epsilon; calibrate the plan")
    white = noise_multiplier(
        plan.accountant,
        epsilon=plan.target_epsilon,
        delta=plan.delta,
        sampling_rate=plan.sampling_rate,
        steps=plan.steps,
    )
    banded = plan.noise_multiplier * prefix_rmse(plan.coefficients, plan.steps)
    return banded / (white * prefix_rmse((1.0,), plan.steps))
