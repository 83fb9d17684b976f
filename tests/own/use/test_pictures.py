"""Pictures of an evaluation say what they show, and show it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix.own.use.measures import measure
from dpmix.own.use.pictures import confusion, reliability, save
from tests.own.use.test_measures import CLASSES, made_up


@pytest.mark.parametrize("count", [2, 40])
def test_what_is_taken_for_what(tmp_path: Path, count: int) -> None:
    names = [f"${number}_" for number in range(count)]
    figure = confusion(3 * np.eye(count, dtype=np.int64), names)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.get_title() == "Where the images of each true class go"
    assert [one.get_text() for one in axes.get_yticklabels()] == ([rf"\{name}" for name in names] if count == 2 else [])
    assert [one.get_text() for one in axes.texts] == (["100%", "0%", "0%", "100%"] if count == 2 else [])
    save(figure, tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        assert min(picture.size) > 400
        # The diagonal is dark, the rest is white: both colours are there.
        assert np.ptp(np.asarray(picture.convert("L"))) > 150


def test_how_often_it_is_right_when_it_is_so_sure(tmp_path: Path) -> None:
    found = measure(*made_up(), CLASSES)["calibration"]
    figure = reliability(found)
    (axes,) = figure.axes
    assert axes.get_title() == f"Reliability; expected calibration error {found['expected_error']:.3f}"
    assert "confidence" in axes.get_xlabel()
    assert "accuracy" in axes.get_ylabel()
    there = [one for one in found["bins"] if one["images"]]
    (dots,) = axes.collections
    np.testing.assert_allclose(dots.get_offsets(), [(one["confidence"], one["accuracy"]) for one in there])
    most = int(np.argmax([one["images"] for one in there]))
    assert int(np.argmax(dots.get_sizes())) == most
    save(figure, tmp_path / "r.png")
    with Image.open(tmp_path / "r.png") as picture:
        assert picture.size == (675, 675)
