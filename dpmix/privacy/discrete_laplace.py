"""Discrete Laplace noise on a count: pure ε-differential privacy in whole numbers, with no rounding to betray it.

A count that one record changes by at most 1 gets integer noise Z with P(Z = z) proportional to exp(-ε |z|) (Ghosh,
Roughgarden and Sundararajan, STOC 2009). It is drawn exactly, by the algorithm of Canonne, Kamath and Steinke (NeurIPS
2020, Algorithm 2) from fair bits of the operating system; ε is taken as the decimal number that it is written as, and
no float takes part.
"""

import math
import secrets
from collections.abc import Callable
from fractions import Fraction

from dpmix.errors import PrivacyError

# A uniform draw from 0, 1, ..., n - 1.
Below = Callable[[int], int]


def noisy_count(count: int, epsilon: float, below: Below = secrets.randbelow) -> int:
    """A count plus discrete Laplace noise: (ε, 0)-differentially private if a record changes the count by at most 1.

    Args:
        count: the exact count. The result may be below 0 or above any bound of it.
        epsilon: ε, above 0 and finite.
        below: where uniform whole numbers come from; by default the operating system.

    Raises:
        PrivacyError: for an ε that is not a finite number above 0.

    >>> import random
    >>> noisy_count(900, 0.1, random.Random(0).randrange)
    894
    """
    return count + discrete_laplace(exact(epsilon), below)


def exact(epsilon: float) -> Fraction:
    """ε as the fraction that its shortest decimal text stands for.

    Raises:
        PrivacyError: for an ε that is not a finite number above 0.

    >>> exact(0.1)
    Fraction(1, 10)
    """
    if not 0 < epsilon < math.inf:
        raise PrivacyError(f"epsilon {epsilon} of a count is not a finite number above 0; give one, such as 0.1")
    return Fraction(repr(float(epsilon)))


def noise_deviation(epsilon: float) -> float:
    """The standard deviation of the noise, √(2 e^(-ε)) / (1 - e^(-ε)), which is about √2 / ε.

    >>> round(noise_deviation(0.1), 2)
    14.14
    """
    return math.sqrt(2 * math.exp(-epsilon)) / -math.expm1(-epsilon)


def discrete_laplace(epsilon: Fraction, below: Below = secrets.randbelow) -> int:
    """A whole number z with probability proportional to exp(-ε |z|), for a fraction ε above 0.

    >>> import random
    >>> [discrete_laplace(Fraction(1, 2), random.Random(seed).randrange) for seed in range(6)]
    [-1, -2, 0, 0, -2, 1]
    """
    s, t = epsilon.numerator, epsilon.denominator
    while True:
        u = below(t)
        if not _happens_exp(Fraction(u, t), below):
            continue
        v = 0
        while _happens_exp(Fraction(1), below):
            v += 1
        size, negative = (u + t * v) // s, below(2) == 1
        if size or not negative:  # zero is drawn with either sign, and may count only once
            return -size if negative else size


def _happens(probability: Fraction, below: Below) -> bool:
    return below(probability.denominator) < probability.numerator


def _happens_exp(gamma: Fraction, below: Below) -> bool:
    """True with probability exp(-γ), for γ in [0, 1]."""
    turn = 1
    while _happens(gamma / turn, below):
        turn += 1
    return turn % 2 == 1
