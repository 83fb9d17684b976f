import math
import random
from collections import Counter
from fractions import Fraction

import pytest
from scipy.stats import chisquare, dlaplace

from dpmix.errors import PrivacyError
from dpmix.privacy.discrete_laplace import discrete_laplace, exact, noise_deviation, noisy_count

DRAWS = 20_000


@pytest.mark.parametrize("epsilon", [Fraction(1, 10), Fraction(3, 4), Fraction(5, 2)])
def test_noise_is_distributed_as_it_should_be(epsilon: Fraction) -> None:
    """SciPy's discrete Laplace; a false alarm at one seed in 10,000, and the seed is fixed."""
    below = random.Random(7).randrange
    found = Counter(discrete_laplace(epsilon, below) for _ in range(DRAWS))
    law = dlaplace(float(epsilon))
    edge = int(law.ppf(1 - 25 / DRAWS))
    inner = range(-edge, edge + 1)
    observed = [found[z] for z in inner] + [sum(n for z, n in found.items() if abs(z) > edge)]
    expected = [DRAWS * law.pmf(z) for z in inner] + [DRAWS * 2 * law.sf(edge)]
    assert chisquare(observed, expected).pvalue > 1e-4


def test_one_record_more_or_less_changes_no_probability_by_more_than_the_factor() -> None:
    """The definition of ε, on the law itself: P(count + Z = x) against P(count + 1 + Z = x) for every x."""
    epsilon = 0.5
    law = dlaplace(epsilon)
    ratios = [law.pmf(x) / law.pmf(x - 1) for x in range(-40, 41)]
    assert max(max(ratios), 1 / min(ratios)) == pytest.approx(math.exp(epsilon))


def test_a_count_gets_noise_of_the_deviation_that_is_told() -> None:
    below = random.Random(3).randrange
    noise = [noisy_count(900, 0.25, below) - 900 for _ in range(DRAWS)]
    mean = sum(noise) / DRAWS
    deviation = math.sqrt(sum(value**2 for value in noise) / DRAWS)
    assert abs(mean) < 5 * noise_deviation(0.25) / math.sqrt(DRAWS)
    assert deviation == pytest.approx(noise_deviation(0.25), rel=0.05)
    assert noise_deviation(0.25) == pytest.approx(dlaplace(0.25).std())


def test_by_default_two_draws_differ() -> None:
    """Sixteen equal draws at this ε have a probability below 10⁻³⁰."""
    assert len({noisy_count(0, 0.001) for _ in range(16)}) > 1


@pytest.mark.parametrize(
    ("written", "fraction"), [(0.1, Fraction(1, 10)), (2.0, Fraction(2)), (1e-3, Fraction(1, 1000))]
)
def test_epsilon_is_the_number_that_was_written(written: float, fraction: Fraction) -> None:
    assert exact(written) == fraction


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan])
def test_another_epsilon_is_refused(epsilon: float) -> None:
    with pytest.raises(PrivacyError, match="give one, such as"):
        noisy_count(3, epsilon)
