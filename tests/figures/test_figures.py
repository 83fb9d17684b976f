"""Both figures are drawn for any data, with the same bytes in every process."""

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dpmix.figures.figure1 import Figure1Data, figure1, soft_label
from dpmix.figures.figure2 import GradientPanel, figure2, scientific, sd_csv, stages


def example(base: int = 4, synthetic: int = 2, mixed: int = 5, channels: int = 1, pairs: bool = True) -> Figure1Data:
    draw = np.random.default_rng(0)
    images = draw.random((1 + base + synthetic + mixed, channels, 16, 16), dtype=np.float32)
    weights = draw.beta(0.2, 0.2, mixed)
    targets = np.stack([weights, 1 - weights, np.zeros(mixed)], axis=1)
    return Figure1Data(
        image=images[0],
        label="seven",
        base=images[1 : 1 + base],
        synthetic=images[1 + base : 1 + base + synthetic],
        synthetic_labels=("a rather long name of a class",) * synthetic,
        mixed=images[1 + base + synthetic :],
        weights=weights,
        targets=targets,
        classes=("seven", "a rather long name of a class", "nine"),
        pairs=draw.integers(0, base + synthetic, (mixed, 2)) if pairs else None,
    )


def panels(paper_sd: float | None = 9.76e-4, epochs: int = 10) -> list[GradientPanel]:
    draw = np.random.default_rng(1)
    return [
        GradientPanel(dataset, method, np.abs(draw.normal(0, sd, (epochs, 500))).astype(np.float32), paper_sd, 0.99)
        for dataset in ("CIFAR-10", "Caltech256")
        for method, sd in (("Self-Aug", 2e-3), ("DP-Mix_Self", 1e-3))
    ]


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


def test_figure_2_is_drawn_beside_its_table(tmp_path: Path) -> None:
    png, pdf, table = figure2(panels(), tmp_path / "figure2")
    with Image.open(png) as image:
        assert image.width > 900
    assert pdf.read_bytes().startswith(b"%PDF")
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["dataset"], row["method"]) for row in rows] == [(p.dataset, p.method) for p in panels()]
    assert [float(row["sd"]) for row in rows] == pytest.approx([panel.sd for panel in panels()], rel=1e-5)
    assert {(row["paper_sd"], row["epsilon"]) for row in rows} == {("0.000976", "0.990000")}


@pytest.mark.parametrize(
    "several",
    [
        pytest.param(panels()[:3], id="ragged"),
        pytest.param(panels(None, epochs=1)[:1], id="one"),
        pytest.param([GradientPanel("d", "m", np.zeros((2, 7), np.float32))], id="all-zero"),
        pytest.param([GradientPanel("d", "m", np.array([[-1.0, 2.0, 9.0]], np.float32))], id="signed"),
    ],
)
def test_figure_2_takes_any_panels(several: list[GradientPanel], tmp_path: Path) -> None:
    sizes = [path.stat().st_size for path in figure2(several, tmp_path / "figure2")]
    assert len(sizes) == 3
    assert min(sizes) > 0


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_figure_2_refuses_what_is_not_epochs_by_parameters(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\[epochs, parameters\]"):
        figure2([GradientPanel("d", "m", np.zeros(shape, np.float32))], tmp_path / "figure2")
    with pytest.raises(ValueError, match=r"\[epochs, parameters\]"):
        figure2([], tmp_path / "figure2")
    assert not list(tmp_path.iterdir())


def test_the_deviation_is_that_of_the_average_over_epochs() -> None:
    gradients = np.array([[1.0, 2.0, 6.0], [3.0, 2.0, 0.0]], np.float32)
    panel = GradientPanel("d", "m", gradients)
    assert panel.average.tolist() == [2.0, 2.0, 3.0]
    assert panel.sd == pytest.approx(np.std([2.0, 2.0, 3.0]))
    assert sd_csv([panel]).splitlines()[1] == "d,m,0.471405,,"


DRAW = """
import runpy, sys
from pathlib import Path
module = runpy.run_path(sys.argv[1])
module["figure1"](module["example"](), Path(sys.argv[2], "figure1"))
module["figure2"](module["panels"](), Path(sys.argv[2], "figure2"))
"""


def test_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    def digests(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}

    figure1(example(), tmp_path / "here" / "figure1")
    figure2(panels(), tmp_path / "here" / "figure2")
    there = tmp_path / "there"
    there.mkdir()
    subprocess.run([sys.executable, "-c", DRAW, __file__, str(there)], check=True)
    assert len(digests(there)) == 5
    assert digests(there) == digests(tmp_path / "here")


def test_stages_are_tenths_of_training() -> None:
    assert stages(10) == [(10 * (epoch + 1), epoch) for epoch in range(10)]
    assert stages(20) == [(10 * (part + 1), 2 * part + 1) for part in range(10)]
    assert stages(4) == [(25, 0), (50, 1), (75, 2), (100, 3)]
    assert stages(1) == [(100, 0)]


@given(st.integers(1, 300))
def test_stages_are_epochs_in_order_and_end_with_the_last(epochs: int) -> None:
    shown = stages(epochs)
    assert [epoch for _, epoch in shown] == sorted({epoch for _, epoch in shown})
    assert shown[-1] == (100, epochs - 1)
    assert all(abs(percent / 100 - (epoch + 1) / epochs) < max(1 / epochs, 0.01) for percent, epoch in shown)


def test_soft_labels_in_words() -> None:
    classes = ("cat", "dog", "bird")
    assert soft_label([0.0, 1.0, 0.0], classes) == "dog"
    assert soft_label([0.0, 0.9999999, 0.0], classes) == "dog"
    assert soft_label([0.17, 0.83, 0.0], classes) == ".83 dog + .17 cat"
    assert soft_label([0.999, 0.001, 0.0], classes) == ".99 cat + .01 dog"


def test_scientific_notation_is_the_papers() -> None:
    assert [scientific(value) for value in (9.76e-4, 2.16e-3, 1.0, 0.0)] == ["9.76·10⁻⁴", "2.16·10⁻³", "1.00·10⁰", "0"]
