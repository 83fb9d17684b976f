import numpy as np
import pytest

from dpmix.figures.density import density


def test_it_is_one_in_all_and_reflected_at_zero() -> None:
    sample = np.random.default_rng(1).exponential(2.0, 4000).astype(np.float32)
    at = np.linspace(0.0, 60.0, 6001)
    found = density(sample, at)
    assert np.trapezoid(found, at) == pytest.approx(1.0, abs=2e-3)
    # An exponential is highest at zero, where kernels alone would leave half of it.
    assert found[0] == pytest.approx(0.5, rel=0.2)
    np.testing.assert_allclose(found[(at > 1) & (at < 6)], np.exp(-at[(at > 1) & (at < 6)] / 2) / 2, rtol=0.15)


def test_values_of_both_signs_are_not_reflected() -> None:
    sample = np.random.default_rng(2).normal(0.0, 1.0, 4000).astype(np.float32)
    at = np.linspace(-6.0, 6.0, 1201)
    found = density(sample, at)
    assert np.trapezoid(found, at) == pytest.approx(1.0, abs=2e-3)
    assert found[600] == pytest.approx(1 / np.sqrt(2 * np.pi), rel=0.1)


@pytest.mark.parametrize("sample", [np.zeros(7, np.float32), np.array([0.25], np.float32), np.full(3, 0.5, np.float32)])
def test_a_sample_without_spread_is_a_narrow_peak(sample: np.ndarray) -> None:
    at = np.linspace(0.0, 1.0, 2001)
    found = density(sample, at)
    assert np.trapezoid(found, at) == pytest.approx(1.0, abs=1e-2)
    assert at[found.argmax()] == pytest.approx(sample[0], abs=1e-3)
