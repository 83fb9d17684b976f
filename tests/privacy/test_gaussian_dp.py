"""μ of Gaussian differential privacy against closed forms, and against the profile that it must lie above."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accounting import Steps, composed_epsilon
from dpmix.privacy.gaussian_dp import gaussian_delta, gaussian_mu

DELTA = 1e-5


@pytest.mark.parametrize(("sigma", "steps"), [(2.0, 1), (10.0, 25), (1.0, 4)])
def test_full_batches_give_the_root_of_the_steps_over_the_noise(sigma: float, steps: int) -> None:
    mu = gaussian_mu([Steps(sigma, 1.0, steps)], delta=DELTA)
    exact = math.sqrt(steps) / sigma
    assert exact <= mu <= 1.003 * exact


def test_steps_of_unlike_noise_add_up_in_squares() -> None:
    mu = gaussian_mu([Steps(4.0, 1.0, 2), Steps(8.0, 1.0, 8)], delta=DELTA)
    assert mu == pytest.approx(math.sqrt(2 / 16 + 8 / 64), rel=3e-3)


@pytest.mark.parametrize(("sigma", "rate", "steps"), [(1.0, 0.01, 500), (3.6, 0.27, 37)])
def test_it_is_the_least_that_lies_above_the_profile(sigma: float, rate: float, steps: int) -> None:
    from dp_accounting.pld import privacy_loss_distribution

    mu = gaussian_mu([Steps(sigma, rate, steps)], delta=DELTA)
    step = privacy_loss_distribution.from_gaussian_mechanism(
        sigma, sampling_prob=rate, value_discretization_interval=5e-4
    )
    epsilon = np.linspace(0, composed_epsilon("pld", [Steps(sigma, rate, steps)], delta=DELTA), 37)
    delta = np.array(step.self_compose(steps).get_delta_for_epsilon(epsilon))
    assert delta[0] > 100 * delta[-1]
    assert np.all(gaussian_delta(mu, epsilon) >= delta * (1 - 1e-2))
    assert not np.all(gaussian_delta(0.99 * mu, epsilon) >= delta)


def test_the_curve_is_that_of_two_normal_distributions() -> None:
    mu, epsilon = 1.3, 0.7
    # The best test accepts above a threshold of the log likelihood ratio μ x - μ² / 2.
    threshold = (epsilon + mu**2 / 2) / mu
    expected = norm.sf(threshold - mu) - math.exp(epsilon) * norm.sf(threshold)
    assert gaussian_delta(mu, np.array([epsilon]))[0] == pytest.approx(expected, rel=1e-9)


def test_nothing_done_is_nothing_and_no_noise_is_refused() -> None:
    assert gaussian_mu([], delta=DELTA) == 0
    assert gaussian_mu([Steps(1.0, 0.0, 5), Steps(1.0, 0.5, 0)], delta=DELTA) == 0
    with pytest.raises(ParamsError, match="no noise"):
        gaussian_mu([Steps(0.0, 0.5, 5)], delta=DELTA)
    with pytest.raises(PrivacyError, match="delta"):
        gaussian_mu([Steps(1.0, 0.5, 5)], delta=0.0)
