"""What tests of banded noise share: the strategies' matrices, and the kinds of noise."""

import numpy as np
from scipy.linalg import toeplitz

DELTA = 1e-5

KINDS = ("optimal", "sqrt")


def matrix(coefficients, steps: int) -> np.ndarray:
    """C, float64 [T, T]."""
    column = np.zeros(steps)
    column[: len(coefficients)] = coefficients[:steps]
    return np.tril(toeplitz(column))
