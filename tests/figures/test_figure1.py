from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix.figures.figure1 import Figure1Data, figure1, soft_label
from tests.figures.made_up import example


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(example(16, 2, 18, 3), id="paper"),
        pytest.param(example(), id="demo"),
        pytest.param(example(synthetic=0, mixed=0), id="base-only"),
        pytest.param(example(base=0, synthetic=3), id="no-base"),
        pytest.param(example(pairs=False), id="no-pairs"),
    ],
)
def test_figure_1_is_drawn_and_grows_with_its_rows(data: Figure1Data, tmp_path: Path) -> None:
    png, pdf = figure1(data, tmp_path / "deep" / "figure1")
    with Image.open(png) as image:
        width, height = image.size
        colours = {tuple(pixel) for _, pixel in image.convert("RGB").getcolors(1 << 24)}  # type: ignore[union-attr]
    assert width > 500
    assert height > 150 * ((len(data.base) + 1 + 8) // 9 + (len(data.mixed) + 8) // 9)
    # The frames of private, synthetic and mixed images are there exactly when such images are.
    present = [len(data.base) + 1, len(data.synthetic), len(data.mixed)]
    assert [colour in colours for colour in ((0, 114, 178), (213, 94, 0), (0, 122, 90))] == [
        count > 0 for count in present
    ]
    assert pdf.read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in png.parent.iterdir()) == ["figure1.pdf", "figure1.png"]


def test_figure_1_shows_each_image_as_it_is(tmp_path: Path) -> None:
    data = example(0, 0, 0, 3)
    solid = np.zeros((3, 16, 16), np.float32)
    solid[0] = 1.0
    red = Figure1Data(**{**vars(data), "image": solid})
    png, _ = figure1(red, tmp_path / "figure1")
    with Image.open(png) as image:
        counts = {tuple(colour): count for count, colour in image.convert("RGB").getcolors(1 << 24)}  # type: ignore[union-attr]
    assert counts[(255, 0, 0)] > 10_000


def test_soft_labels_in_words() -> None:
    classes = ("cat", "dog", "bird")
    assert soft_label([0.0, 1.0, 0.0], classes) == "dog"
    assert soft_label([0.0, 0.9999999, 0.0], classes) == "dog"
    assert soft_label([0.17, 0.83, 0.0], classes) == ".83 dog + .17 cat"
    assert soft_label([0.999, 0.001, 0.0], classes) == ".99 cat + .01 dog"
