import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dpmix.figures.figure2 import GradientPanel, figure2, scientific, sd_csv, stages
from tests.figures.made_up import panels


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


def test_scientific_notation_is_the_papers() -> None:
    assert [scientific(value) for value in (9.76e-4, 2.16e-3, 1.0, 0.0)] == ["9.76·10⁻⁴", "2.16·10⁻³", "1.00·10⁰", "0"]


def test_the_range_holds_what_every_stage_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where gradients shrink: the few largest of the first epoch lie far beyond those of all epochs together."""
    drawn: list[Any] = []
    monkeypatch.setattr("dpmix.figures.figure2.save_figure", lambda figure, stem: drawn.append(figure) or (stem, stem))
    gradients = np.random.default_rng(0).exponential(0.01, (20, 1000)).astype(np.float32)
    gradients[1, :5] = 0.5  # the end of the first tenth
    figure2([GradientPanel("digits", "Self-Aug", gradients, None, 8.0)], tmp_path / "figure2")
    (axes,) = (one for one in drawn[0].axes if one.lines)
    low, high = axes.get_xlim()
    assert low == 0
    assert high > 0.5
    first = np.asarray(axes.lines[0].get_ydata())
    assert first[-1] < first.max() * 1e-4
