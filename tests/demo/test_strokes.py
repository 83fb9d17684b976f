import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from dpmix.demo.strokes import CLASSES, draw


def test_shapes_classes_and_range() -> None:
    images, labels = draw(40, seed=3, resolution=32)
    assert images.shape == (40, 1, 32, 32)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert np.bincount(labels, minlength=len(CLASSES)).tolist() == [4] * 10
    assert images.min() == 0
    assert images.max() > 200


@settings(max_examples=8)
@given(st.integers(1, 600), st.integers(0, 2**32 - 1))
def test_a_shorter_bank_is_a_prefix_of_a_longer_one(count: int, seed: int) -> None:
    short, labels = draw(count, seed, 8)
    longer, more = draw(count + 7, seed, 8)
    np.testing.assert_array_equal(short, longer[:count])
    np.testing.assert_array_equal(labels, more[:count])


def test_each_drawing_is_its_own() -> None:
    images, _ = draw(500, seed=0, resolution=8)
    assert len(np.unique(images.reshape(500, -1), axis=0)) == 500
    other, _ = draw(500, seed=1, resolution=8)
    assert (images != other).reshape(500, -1).any(axis=1).all()


def test_pixels_have_the_seventeen_levels_of_scanned_digits() -> None:
    images, _ = draw(200, seed=0, resolution=8)
    assert set(np.unique(images)) <= {round(level * 255 / 16) for level in range(17)}


def test_a_digit_fills_the_height_of_its_frame() -> None:
    images, _ = draw(300, seed=0, resolution=8)
    inked = images[:, 0].max(axis=2) > 20
    assert (inked[:, 0] & inked[:, -1]).mean() > 0.95


def test_they_look_like_real_digits() -> None:
    """The nearest drawing of a real digit mostly shows the same digit; at chance it would one time in ten."""
    digits = load_digits()
    real = (digits.images * 255 / 16).reshape(-1, 64)[::3]
    drawn, labels = draw(4000, seed=0, resolution=8)
    flat = drawn.reshape(len(drawn), -1).astype(float)
    distance = (flat**2).sum(1) - 2 * real @ flat.T
    accuracy = (labels[distance.argmin(1)] == digits.target[::3]).mean()
    assert accuracy > 0.82
