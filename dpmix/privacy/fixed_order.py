"""Batches in a fixed order, as the program released for DP-Mix draws them, with the ε that they have.

That program calibrates its noise for Poisson sampling, and then trains on one permutation of the records, cut into
⌈N / B⌉ batches that are the same in each epoch. Who knows the permutation knows the batch of every record, so
sampling hides nothing: a record is in E batches of E epochs, each a Gaussian mechanism, and these compose. Adjacency is
zero-out: a record is blanked out and nobody moves.

The plan here keeps two numbers apart: `nominal_epsilon`, for which noise was calibrated as if batches were Poisson
samples, and which guarantees nothing; and `target_epsilon`, the worst case of what is executed, which the ledger holds
the run to. It is for experiments on what was released, and no model for release is trained with it.
"""

import functools
import math
from dataclasses import asdict, dataclass, replace
from typing import Unpack

import numpy as np
from typing_extensions import override

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accounting import Steps, composed_epsilon, rounded_up
from dpmix.privacy.plan import Plan, Target
from dpmix.privacy.sampling import Sample, Sampler, microbatches


@dataclass(frozen=True)
class FixedOrderSampler:
    """Takes the units of a permutation batch by batch, and begins again where it ends.

    Attributes:
        population: number of units N.
        batch_size: B, units of a batch; the last one of the permutation has what is left.
        seed: of the permutation, which is public.

    >>> sampler = FixedOrderSampler(population=5, batch_size=2, seed=0)
    >>> [len(sampler.sample(step).units) for step in range(4)]
    [2, 2, 1, 2]
    >>> bool((sampler.sample(0).units == sampler.sample(3).units).all())
    True
    """

    population: int
    batch_size: int
    seed: int

    def sample(self, step: int) -> Sample:
        """See `Sampler.sample`. Candidates are the batch itself, each of which is taken with certainty."""
        order = _order(self.population, self.seed)
        start = step % batches(self.population, self.batch_size) * self.batch_size
        units = np.sort(order[start : start + self.batch_size])
        return Sample(units, 1.0, units)


@functools.lru_cache(maxsize=4)
def _order(population: int, seed: int) -> np.ndarray:
    return microbatches(population, 1, seed)[:, 0]


def batches(population: int, batch_size: int) -> int:
    """⌈N / B⌉, the batches of one epoch.

    >>> batches(3680, 1000)
    4
    """
    return -(-population // batch_size)


@dataclass(frozen=True)
class FixedOrderPlan(Plan):
    """The plan of a run on batches in a fixed order. `fixed_order_plan` makes it.

    Attributes:
        nominal_epsilon: the ε for which noise was calibrated as if batches were Poisson samples; no guarantee.
            `target_epsilon` is that of what is executed.

    Raises:
        ParamsError: values that do not fit together; microbatches.

    >>> plan = FixedOrderPlan(
    ...     population=3680, batch_size=1000, steps=40, clip_norm=1.0, noise_multiplier=2.0, delta=1e-5
    ... )
    >>> plan.epoch_steps, plan.expected_units, plan.sampling_rate
    (4, 920, 1.0)
    """

    nominal_epsilon: float = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.microbatch_size > 1:
            raise ParamsError("batches in a fixed order are not accounted for with microbatches; use microbatch_size 1")
        if not self.nominal_epsilon > 0:
            raise ParamsError(f"nominal epsilon {self.nominal_epsilon} is not above 0; use inf to train without noise")

    @property
    def epoch_steps(self) -> int:
        """The steps of one epoch, ⌈N / B⌉."""
        return batches(self.population, self.batch_size)

    @property
    @override
    def sampling_rate(self) -> float:
        """1: whoever knows the order knows the batch of every record."""
        return 1.0

    @property
    @override
    def expected_units(self) -> float:
        """⌊N / ⌈N / B⌉⌋, by which the released program divides every noisy sum, whatever the batch has."""
        return self.population // self.epoch_steps

    @property
    @override
    def least_gap(self) -> int:
        """⌈N / B⌉: of that many steps a record is in one, so that an accountant counts one of them."""
        return self.epoch_steps

    @override
    def sampler(self, seed: int | None) -> Sampler:
        """The sampler of a run. The order is public: without a seed it is that of seed 0."""
        return FixedOrderSampler(self.population, self.batch_size, seed or 0)

    @override
    def check(self) -> None:
        """Also that the noise is that of `nominal_epsilon`.

        Raises:
            PrivacyError: if ε is above its target, or the noise too small for what the plan calls nominal.
        """
        super().check()
        if self.nominal_epsilon == math.inf:
            return
        nominal = _nominal(self)
        spent = composed_epsilon(
            self.accountant, [Steps(self.noise_multiplier, nominal.step_rate, nominal.steps)], delta=self.delta
        )
        if not spent <= self.nominal_epsilon:
            raise PrivacyError(
                f"noise multiplier {self.noise_multiplier:g} is nominally epsilon {rounded_up(spent, 6)} "
                f"({self.accountant}), above {self.nominal_epsilon:g}; make the plan again with fixed_order_plan"
            )


def fixed_order_plan(
    **target: Unpack[Target],
) -> FixedOrderPlan:
    """The plan with the noise of `Plan.calibrated`, whose batches are in a fixed order.

    Args:
        **target: the arguments of `Plan.calibrated`; `epochs` is E, whole passes over the records, and `epsilon` is
            nominal.

    Raises:
        ParamsError: values that do not fit together; microbatches; epochs that are no whole number.
        PrivacyError: a nominal ε that the accountant cannot certify.

    >>> plan = fixed_order_plan(
    ...     population=300, batch_size=100, epochs=10, clip_norm=1.0, epsilon=2, delta=1e-5, accountant="pld"
    ... )
    >>> plan.steps, plan.nominal_epsilon, round(plan.target_epsilon, 1)
    (30, 2, 3.5)
    """
    epochs = target["epochs"]
    if epochs != int(epochs):
        raise ParamsError(f"{epochs} epochs are no whole number of passes over the records; give one")
    calibrated = Plan.calibrated(**target)
    steps = int(epochs) * batches(calibrated.population, calibrated.batch_size)
    values = {**asdict(calibrated), "steps": steps, "target_epsilon": math.inf}
    plan = FixedOrderPlan(**values, nominal_epsilon=target["epsilon"])
    if not plan.private:
        return plan
    _, spent = plan.stated([plan._planned()])
    # Rounded up, because another processor may compute a little more when it checks the plan.
    return replace(plan, target_epsilon=float(rounded_up(spent, 6)))


def _nominal(plan: FixedOrderPlan) -> Plan:
    """The Poisson-sampled plan that the noise was calibrated for."""
    return Plan.make(
        population=plan.population,
        batch_size=plan.batch_size,
        epochs=plan.steps // plan.epoch_steps,
        clip_norm=plan.clip_norm,
        noise_multiplier=plan.noise_multiplier,
        delta=plan.delta,
        accountant=plan.accountant,
    )
