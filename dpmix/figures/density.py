"""The density of a sample as a smooth curve, on an axis that may end at zero."""

import numpy as np
from numpy.typing import NDArray

from dpmix.figures.style import Floats

# Of a sample without spread: the width of what stands for it, as a share of the axis.
_NARROW = 1 / 200


def density(values: Floats, at: NDArray[np.floating]) -> NDArray[np.floating]:
    """A Gaussian kernel density estimate with Scott's bandwidth, s · n^(-1/5) for n values of standard deviation s.

    Where no value is negative, what the kernels leave below zero is reflected there, so that the density over
    [0, ∞) is one in all, and does not sink towards a border at which the values are many.

    Args:
        values: [n].
        at: [m], where it is wanted.

    Returns:
        [m], per unit of the values.
    """
    from scipy.stats import gaussian_kde, norm

    sample = np.asarray(values, dtype=np.float64)
    spread = float(sample.std(ddof=1)) if len(sample) > 1 else 0.0
    if spread <= 1e-9 * max(float(np.abs(sample).max()), 1e-300):
        width = max(float(at[-1] - at[0]), 1e-300) * _NARROW
        one = norm(sample.mean(), width)
        found, mirrored = one.pdf(at), one.pdf(-at)
    else:
        several = gaussian_kde(sample)
        found, mirrored = several(at), several(-at)
    return np.asarray(found + mirrored if sample.min() >= 0 else found)
