"""ε of a person with several records, against integrals over the mixtures of Gaussians and a closed form."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, norm

from dpmix.errors import ParamsError
from dpmix.privacy.accounting import Steps, composed_epsilon
from dpmix.privacy.group_privacy import group_epsilon

DELTA = 1e-5


def exact(sigma: float, rate: float, records: int) -> float:
    """ε of one step, both directions, by sums over the densities on a fine grid."""
    centres = np.arange(records + 1)[:, None]
    x = np.linspace(-9 * sigma, records + 9 * sigma, 20_001)
    there = (binom.pmf(centres, records, rate) * norm.pdf(x, centres, sigma)).sum(axis=0)
    absent = norm.pdf(x, 0, sigma)

    def excess(epsilon: float, one: np.ndarray, other: np.ndarray) -> float:
        return float(np.maximum(one - math.exp(epsilon) * other, 0).sum() * (x[1] - x[0])) - DELTA

    return max(
        float(brentq(excess, 0, 40, args=pair)) if excess(0, *pair) > 0 else 0.0
        for pair in ((there, absent), (absent, there))
    )


@pytest.mark.parametrize(("sigma", "rate", "records"), [(2.0, 0.3, 2), (1.5, 0.1, 5)])
def test_one_step_is_the_mixture(sigma: float, rate: float, records: int) -> None:
    found = group_epsilon([Steps(sigma, rate, 1)], records, delta=DELTA)
    assert exact(sigma, rate, records) <= found * (1 + 1e-6)
    assert found == pytest.approx(exact(sigma, rate, records), rel=1e-2)


@pytest.mark.parametrize("records", [2, 5])
def test_without_sampling_the_records_are_one_of_their_joint_length(records: int) -> None:
    found = group_epsilon([Steps(20.0, 1.0, 4)], records, delta=DELTA)
    as_one = composed_epsilon("pld", [Steps(20.0 / records, 1.0, 4)], delta=DELTA)
    assert as_one <= found * (1 + 1e-4)
    assert found == pytest.approx(as_one, rel=1e-2)


def test_one_record_is_one_and_more_are_more_than_as_many_times_it() -> None:
    history = [Steps(1.0, 0.01, 300), Steps(1.2, 0.02, 50)]
    alone = composed_epsilon("pld", history, delta=DELTA)
    found = [group_epsilon(history, records, delta=DELTA) for records in (1, 2, 3)]
    assert found[0] == alone
    assert alone < found[1] / 2 < found[2] / 3


def test_what_promises_nothing_is_infinite_and_nothing_is_zero() -> None:
    assert group_epsilon([Steps(0.5, 0.2, 300)], 10, delta=DELTA) == math.inf
    assert group_epsilon([], 10, delta=DELTA) == 0
    with pytest.raises(ParamsError, match="not a number of records"):
        group_epsilon([Steps(1.0, 0.1, 1)], 0, delta=DELTA)


def test_where_the_library_loses_a_mixtures_tails_it_is_bounded_by_all_records_in_every_step() -> None:
    """Two steps on sixty images, all of which are taken: the library itself fails for ten records."""
    (five, ten) = (group_epsilon([Steps(0.8492077270231938, 1.0, 2)], records, delta=DELTA) for records in (5, 10))
    assert 60 < five < 80
    assert ten == math.inf
