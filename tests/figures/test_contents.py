"""What is drawn: each picture, caption, bar and line of the figures, taken from matplotlib before it is saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from dpmix.figures import figure1 as figure1_module
from dpmix.figures import figure2 as figure2_module
from dpmix.figures.figure1 import Figure1Data, figure1
from dpmix.figures.figure2 import GradientPanel, figure2, stages

CLASSES = ("ant", "bee", "cat")

SMALL = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Figure]:
    """Draws a figure and hands it over in place of saving it."""

    def draw(function: Callable[..., Any], data: Any, stem: Path) -> Figure:
        kept: list[Figure] = []
        for module in (figure1_module, figure2_module):
            monkeypatch.setattr(module, "save_figure", lambda figure, stem: kept.append(figure) or (stem, stem))
        function(data, stem)
        (figure,) = kept
        return figure

    return draw


# Figure 1 -------------------------------------------------------------------------------------------------------------
def example(base: int = 3, synthetic: int = 2, mixed: int = 12, channels: int = 3, pairs: bool = True) -> Figure1Data:
    draw = np.random.default_rng(0)
    images = draw.random((1 + base + synthetic + mixed, channels, 5, 7), dtype=np.float32)
    members = base + synthetic
    weights = np.round(draw.uniform(0.05, 0.95, mixed), 2)
    parents = np.stack([np.arange(mixed) % members, (np.arange(mixed) * 3 + 1) % members], axis=1)
    labels = np.eye(3)[[0] * base + [1, 2][:synthetic]]
    targets = weights[:, None] * labels[parents[:, 0]] + (1 - weights[:, None]) * labels[parents[:, 1]]
    return Figure1Data(
        image=images[0],
        label="ant",
        base=images[1 : 1 + base],
        synthetic=images[1 + base : 1 + members],
        synthetic_labels=("bee", "cat")[:synthetic],
        mixed=images[1 + members :],
        weights=weights,
        targets=targets,
        classes=CLASSES,
        pairs=parents if pairs else None,
    )


def decimals(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def recipe(data: Figure1Data, index: int) -> tuple[str, set[str]]:
    """The first line of a mixture's caption, and the words of its label in any order."""
    weight = float(data.weights[index])
    line = f"λ = {decimals(weight)}"
    base = len(data.base)
    if data.pairs is not None:
        names = [f"x{one + 1}" if one < base else f"z{one - base + 1}" for one in data.pairs[index]]
        line = f"{', '.join(names).translate(SMALL)}:  {line}"
    shares = {name: float(share) for name, share in zip(CLASSES, data.targets[index], strict=True) if share > 0}
    if len(shares) == 1:
        return line, set(shares)
    return line, {f"{decimals(share)} {name}" for name, share in shares.items()}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(example(), id="everything"),
        pytest.param(example(base=11, channels=1), id="two-digits-and-grey"),
        pytest.param(example(pairs=False), id="no-pairs"),
        pytest.param(example(base=1, synthetic=0, mixed=0), id="plain"),
    ],
)
def test_figure_1_shows_every_image_under_its_own_caption(
    data: Figure1Data, drawn: Callable[..., Figure], tmp_path: Path
) -> None:
    parts = drawn(figure1, data, tmp_path / "figure1").subfigs
    base = len(data.base)
    views = "1 plain view" if base == 1 else f"{base} plain views"
    expected = [(f"Private example x (ant), {views}", np.concatenate([data.image[None], data.base]))]
    if len(data.synthetic):
        expected.append(("From the synthetic set, 2", data.synthetic))
    if len(data.mixed):
        expected.append((f"Mixed pairs, {len(data.mixed)}:  λ·first + (1−λ)·second", data.mixed))
    assert [part.texts[0].get_text() for part in parts] == [heading for heading, _ in expected]
    captions = []
    for part, (_, images) in zip(parts, expected, strict=True):
        assert len(part.axes) == len(images) > 0
        for axes, image in zip(part.axes, images, strict=True):
            pixels = np.moveaxis(image, 0, -1)
            (shown,) = axes.images
            np.testing.assert_array_equal(shown.get_array(), np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
            captions.append(axes.get_xlabel())
    assert captions[: base + 1] == ["x", *(f"x{index + 1}".translate(SMALL) for index in range(base))]
    names = captions[base + 1 : base + 1 + len(data.synthetic)]
    assert names == ["z₁: bee", "z₂: cat"][: len(data.synthetic)]
    of_mixtures = captions[base + 1 + len(data.synthetic) :]
    assert len(of_mixtures) == len(data.mixed)
    for index, caption in enumerate(of_mixtures):
        line, label = caption.split("\n", 1)
        words = set(label.replace("\n", " ").split(" + "))
        assert (line, words) == recipe(data, index)


def test_figure_1_frames_say_what_an_image_is(drawn: Callable[..., Figure], tmp_path: Path) -> None:
    parts = drawn(figure1, example(), tmp_path / "figure1").subfigs
    from matplotlib.colors import to_hex

    colours = [
        {to_hex(spine.get_edgecolor()) for axes in part.axes for spine in axes.spines.values()} for part in parts
    ]
    headings = [{to_hex(part.texts[0].get_color())} for part in parts]
    assert colours == headings == [{"#0072b2"}, {"#d55e00"}, {"#007a5a"}]


# Figure 2 -------------------------------------------------------------------------------------------------------------
def panels(epochs: int = 12) -> list[GradientPanel]:
    """Two data sets of different scales, two methods, and gradients that fade over the epochs."""
    draw = np.random.default_rng(1)
    fading = np.linspace(1.0, 0.4, epochs)[:, None]
    return [
        GradientPanel(dataset, method, (np.abs(draw.normal(0, sd, (epochs, 900))) * fading).astype(np.float32),
                      2.16e-3 if method == "Self-Aug" else None, 0.99)
        # The wider of a row is first in one and second in the other.
        for dataset, sds in (("CIFAR-10", (2e-3, 1e-3)), ("Caltech256", (5e-2, 1e-1)))
        for method, sd in zip(("Self-Aug", "DP-Mix_Self"), sds, strict=True)
    ]  # fmt: skip


def kernels(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A Gaussian around each value and around its mirror image, by Scott's rule."""
    sample = np.asarray(values, np.float64)
    width = sample.std(ddof=1) * len(sample) ** -0.2
    total = np.zeros(len(at))
    for value in [*sample, *-sample]:
        total += np.exp(-(((at - value) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))
    return total / len(sample)


@pytest.mark.parametrize("epochs", [12, 3])
def test_figure_2_draws_every_panel_from_its_own_gradients(
    epochs: int, drawn: Callable[..., Figure], tmp_path: Path
) -> None:
    several = panels(epochs)
    figure = drawn(figure2, several, tmp_path / "figure2")
    assert len(figure.axes) == 4
    for index, (axes, panel) in enumerate(zip(figure.axes, several, strict=True)):
        inside = np.concatenate([one.gradients.ravel() for one in several if one.dataset == panel.dataset])
        shown = [one.gradients[epoch] for one in several if one.dataset == panel.dataset for _, epoch in stages(epochs)]
        high = 1.08 * max(float(np.quantile(one, 0.9995)) for one in shown)
        at = np.linspace(0.0, high, 241)
        assert inside.min() >= 0
        average = panel.gradients.astype(np.float64).mean(axis=0)
        (filled,) = axes.collections
        corners = filled.get_paths()[0].vertices
        top = np.array([corners[np.isclose(corners[:, 0], x, atol=1e-12), 1].max() for x in at])
        expected = kernels(average, at)
        np.testing.assert_allclose(top, expected, rtol=1e-3, atol=1e-9 * expected.max())
        labels = [f"{percent} % of training" for percent, _ in stages(epochs)]
        assert [line.get_label() for line in axes.lines] == labels
        assert len(axes.lines) == min(epochs, 10)
        for line, (_, epoch) in zip(axes.lines, stages(epochs), strict=True):
            np.testing.assert_allclose(line.get_xdata(), at, atol=1e-12)
            expected = kernels(panel.gradients[epoch], at)
            np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-3, atol=1e-9 * expected.max())
            assert np.isfinite(line.get_ydata()).all()  # a curve without gaps
        sd = f"{average.std():.2e}".split("e")
        power = str(int(sd[1])).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        said = f"sd {sd[0]}·10{power}" + ("  (paper 2.16·10⁻³)" if index % 2 == 0 else "")
        assert axes.get_title() == said
        assert axes.get_yscale() == "log"
        beyond = np.mean(average > high)
        assert [text.get_text() for text in axes.texts if "beyond" in text.get_text()] == (
            [f"{100 * beyond:.2g} % beyond"] if beyond else []
        )


def test_figure_2_names_its_rows_and_columns(drawn: Callable[..., Figure], tmp_path: Path) -> None:
    figure = drawn(figure2, panels()[:3], tmp_path / "figure2")
    first, second, third, empty = figure.axes
    assert [axes.get_ylabel() for axes in (first, second, third)] == [
        "CIFAR-10\ndensity of parameters", "", "Caltech256\ndensity of parameters",
    ]  # fmt: skip
    assert [axes.get_xlabel() for axes in (first, second, third)] == ["", "", "gradient magnitude before clipping"]
    heads = [[text.get_text() for text in axes.texts if "beyond" not in text.get_text()] for axes in figure.axes]
    assert heads == [["Self-Aug"], [r"DP-Mix$_{\mathbf{Self}}$"], [], []]
    assert not empty.axison
    # What is compared within a row is drawn to one scale, and each row has its own.
    assert first.get_xlim() == second.get_xlim() != third.get_xlim()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["average over epochs", *(f"{10 * part} % of training" for part in range(1, 11))]
