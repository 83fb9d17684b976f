"""Samples that are not what a plan says are noticed by counting who was in them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dpmix.errors import PrivacyError
from dpmix.privacy.banded_plan import banded_plan
from dpmix.privacy.noise import SeededNoise
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import PoissonSampler, Sample
from tests.privacy.executed_runs import SIZES, executed


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.calibrated(**SIZES, epsilon=3)


class Partial:
    """A sampler of which a function changes every sample."""

    def __init__(self, plan: Plan, change: Callable[[int, Sample], np.ndarray]) -> None:
        self.population, self.honest, self.change = plan.units, plan.sampler(1), change

    def sample(self, step: int) -> Sample:
        honest = self.honest.sample(step)
        return honest._replace(units=np.sort(self.change(step, honest)))


ORDER = np.random.default_rng(0).permutation(400)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda step, honest: np.union1d(honest.units, [7]), "some unit is in the samples far more or less often"),
        (lambda step, honest: ORDER[step % 5 * 80 :][:80], "samples repeat or avoid earlier ones"),
        (lambda step, honest: np.append(honest.units, honest.units[0]), "in one sample twice"),
        (lambda step, honest: np.append(honest.units, 400), "could not have been"),
    ],
    ids=["one record in every sample", "shuffled epochs", "one record twice", "a record beyond the population"],
)
def test_a_sampler_that_is_not_poisson_is_refused(
    plan: Plan, change: Callable[[int, Sample], np.ndarray], words: str
) -> None:
    with pytest.raises(PrivacyError, match=words):
        executed(plan, SeededNoise(3), Partial(plan, change)).certify(plan)


def test_samples_that_repeat_are_refused_where_each_unit_alone_may(plan: Plan) -> None:
    """Eight times the same sample: one unit may be in all, once in 400,000 runs, but not eighty."""
    short = replace(plan, steps=8)
    with pytest.raises(PrivacyError, match="samples repeat or avoid earlier ones"):
        executed(short, SeededNoise(3), Partial(short, lambda step, honest: short.sampler(1).sample(0).units)).verify()


def test_banded_noise_with_samples_of_everybody_is_refused() -> None:
    """Noise that is correlated over four steps covers a record that is in one of them, not in all."""
    banded = banded_plan(**SIZES, epsilon=3, bands=4)
    everybody = PoissonSampler(banded.units, banded.part_rate, 1)
    with pytest.raises(PrivacyError, match="could be sampled twice within 4 steps"):
        executed(banded, banded.noise(3), everybody).certify(banded)
