"""The paper's two figures: an example's views (Figure 1) and gradient magnitudes through training (Figure 2).

Each is written as PNG and PDF whose bytes depend on the data alone.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpmix.files import atomic_file, write_text
from dpmix.privacy.accounting import rounded_up
from dpmix.tables.text import SUBSCRIPT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Floats = NDArray[np.float32]

# Okabe and Ito's palette, told apart with every common colour blindness.
_PRIVATE, _SYNTHETIC, _MIXED = "#0072B2", "#D55E00", "#007A5A"
_FILL, _INK, _MUTED = "#C9CED6", "#1A1A1A", "#555555"
# Figure 1, in inches: an image, the margin of the page, the room for a heading; the gap is a share of an image.
_MOST_COLUMNS, _SIDE, _MARGIN, _HEADING, _GAP = 9, 1.1, 0.12, 0.36, 0.14
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Figure1Data:
    """One private example and everything that Algorithm 1 derives from it.

    Images are float in [0, 1], channels first: `image` [C, H, W], `base` [K_base, C, H, W], `synthetic`
    [K_diff, C, H, W], `mixed` [K_self, C, H, W]. `targets` [K_self, classes] are the mixed soft labels, `weights`
    [K_self] the λ of each mixture. `pairs` [K_self, 2], where given, indexes the two parents in S, base views first,
    synthetic ones after.
    """

    image: Floats
    label: str
    base: Floats
    synthetic: Floats
    synthetic_labels: tuple[str, ...]
    mixed: Floats
    weights: NDArray[np.floating]
    targets: NDArray[np.floating]
    classes: tuple[str, ...]
    pairs: NDArray[np.integer] | None = None


@dataclass(frozen=True)
class GradientPanel:
    """One histogram of Figure 2.

    `gradients` float32 [epochs, parameters] is, for each epoch, the magnitude of every parameter's gradient, averaged
    over examples before clipping; `paper_sd` the paper's standard deviation, if any; `epsilon` the ε executed.
    """

    dataset: str
    method: str
    gradients: Floats
    paper_sd: float | None = None
    epsilon: float | None = None

    @property
    def average(self) -> Floats:
        """[parameters]: the mean over epochs, which the filled histogram shows."""
        average: Floats = np.asarray(self.gradients, dtype=np.float64).mean(axis=0).astype(np.float32)
        return average

    @property
    def sd(self) -> float:
        """The standard deviation, over parameters, of the mean over epochs."""
        return float(np.asarray(self.gradients, dtype=np.float64).mean(axis=0).std())


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titlesize": 9,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": "#888888",
        "xtick.color": _INK,
        "ytick.color": _INK,
        "pdf.fonttype": 42,
        "figure.facecolor": "white",
    }
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **settings}):
        yield


def _save(figure: "Figure", out_stem: Path) -> tuple[Path, Path]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    png, pdf = (out_stem.with_name(f"{out_stem.name}.{kind}") for kind in ("png", "pdf"))
    with atomic_file(png) as temporary:
        figure.savefig(temporary, dpi=160, metadata={"Software": None})
    with atomic_file(pdf) as temporary:
        # Dates and versions would make equal figures differ.
        figure.savefig(temporary, metadata={"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None})
    return png, pdf


def _share(value: float) -> str:
    """A weight to two decimals that says 1 or 0 only when it is."""
    if value in (0.0, 1.0):
        return f"{value:.0f}"
    return f"{min(max(value, 0.01), 0.99):.2f}".removeprefix("0")


def soft_label(target: Sequence[float], classes: Sequence[str]) -> str:
    """A soft label in words, heaviest class first: `.83 cat + .17 dog`, or `cat` when it is one-hot."""
    weights = [(float(weight), name) for weight, name in zip(target, classes, strict=True) if weight > 0]
    weights.sort(key=lambda entry: -entry[0])
    # Sums of float32 shares of a single class come out a rounding error away from 1.
    if len(weights) == 1 and math.isclose(weights[0][0], 1.0, abs_tol=1e-4):
        return weights[0][1]
    return " + ".join(f"{_share(weight)} {name}" for weight, name in weights)


def _parent(index: int, base: int) -> str:
    return (f"x{index + 1}" if index < base else f"z{index - base + 1}").translate(_SUBSCRIPTS)


def _recipe(data: Figure1Data, index: int) -> str:
    """The two parents, where known, and λ: `x₁₂, z₁: λ = .95`."""
    weight = f"λ = {_share(float(data.weights[index]))}"
    if data.pairs is None:
        return weight
    return ", ".join(_parent(int(parent), len(data.base)) for parent in data.pairs[index]) + f":  {weight}"


def _subscript(method: str) -> str:
    """A method's name for a heading: `DP-Mix_Self` with its last part lowered."""
    return SUBSCRIPT.sub(r"$_{\\mathbf{\1}}$", method)


def _wrap(text: str, width: int) -> str:
    """`text` with a line break at its ` + ` when it is too long for the image above it; long names are cut."""
    parts = [part if len(part) <= width else part[: width - 1] + "…" for part in text.split(" + ")]
    whole = " + ".join(parts)
    return whole if len(whole) <= width else "\n+ ".join(parts)


def _show(axes: "Axes", image: Floats, caption: str, colour: str) -> None:
    pixels = np.clip(np.moveaxis(np.asarray(image), 0, -1), 0, 1)
    if pixels.shape[-1] == 1:
        pixels = pixels.repeat(3, axis=-1)
    axes.imshow(pixels, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=1.6)
    axes.set_xlabel(caption, fontsize=7.2, labelpad=3, linespacing=1.2)


@dataclass(frozen=True)
class _Section:
    """A heading over a grid of captioned images; lengths are in inches."""

    heading: str
    images: Floats
    captions: tuple[str, ...]
    colour: str

    def shape(self, columns: int) -> tuple[int, float]:
        """How many rows, and the height of the captions under each."""
        lines = max(caption.count("\n") + 1 for caption in self.captions)
        return math.ceil(len(self.images) / columns), 0.14 + 0.135 * lines

    def height(self, columns: int, side: float) -> float:
        rows, under = self.shape(columns)
        return _HEADING + rows * (side + under) + 0.12

    def draw(self, part: "SubFigure", columns: int, side: float) -> None:
        rows, under = self.shape(columns)
        height = self.height(columns, side)
        left = _MARGIN / _width(columns, side)
        part.text(left, 1 - 0.08 / height, self.heading, color=self.colour, weight="bold", fontsize=10, va="top")
        grid = part.add_gridspec(
            rows,
            columns,
            left=left,
            right=1 - left,
            top=1 - _HEADING / height,
            bottom=(0.12 + under) / height,
            hspace=under / side,
            wspace=_GAP,
        )
        for index, (image, caption) in enumerate(zip(self.images, self.captions, strict=True)):
            _show(part.add_subplot(grid[divmod(index, columns)]), image, caption, self.colour)


def _width(columns: int, side: float) -> float:
    return 2 * _MARGIN + side * (columns + _GAP * (columns - 1))


def _sections(data: Figure1Data) -> list[_Section]:
    base = len(data.base)
    count = f"{base} plain view{'' if base == 1 else 's'}"
    captions = ("x", *(_parent(index, base) for index in range(base)))
    sections = [
        _Section(
            f"Private example x ({data.label}), {count}",
            np.concatenate([data.image[None], data.base]),
            captions,
            _PRIVATE,
        )
    ]
    if len(data.synthetic):
        names = tuple(
            f"{_parent(base + index, base)}: {_wrap(name, 16)}" for index, name in enumerate(data.synthetic_labels)
        )
        sections.append(_Section(f"From the synthetic set, {len(data.synthetic)}", data.synthetic, names, _SYNTHETIC))
    if len(data.mixed):
        labels = (_wrap(soft_label(target, data.classes), 20) for target in data.targets)
        recipes = tuple(f"{_recipe(data, index)}\n{label}" for index, label in enumerate(labels))
        heading = f"Mixed pairs, {len(data.mixed)}:  λ·first + (1−λ)·second"
        sections.append(_Section(heading, data.mixed, recipes, _MIXED))
    return sections


def figure1(panels: Figure1Data, out_stem: Path) -> tuple[Path, Path]:
    """Draw one example's path through Algorithm 1; write `<out_stem>.png` and `.pdf` and return both paths."""
    from matplotlib.figure import Figure

    sections = _sections(panels)
    columns = min(max(max(len(section.images) for section in sections), 4), _MOST_COLUMNS)
    heights = [section.height(columns, _SIDE) for section in sections]
    with _style():
        figure = Figure(figsize=(_width(columns, _SIDE), sum(heights)))
        parts = figure.subfigures(len(sections), 1, height_ratios=heights, hspace=0.0, squeeze=False)[:, 0]
        for part, section in zip(parts, sections, strict=True):
            section.draw(part, columns, _SIDE)
        return _save(figure, Path(out_stem))


def stages(epochs: int, parts: int = 10) -> list[tuple[int, int]]:
    """(percent of training, index of the epoch then) for each tenth; with fewer epochs than parts, each epoch once."""
    found: dict[int, int] = {}
    for part in range(1, parts + 1):
        found.setdefault(max(math.ceil(epochs * part / parts - 1e-9) - 1, 0), 100 * part // parts)
    if epochs < parts:
        found = {epoch: round(100 * (epoch + 1) / epochs) for epoch in range(epochs)}
    return [(percent, epoch) for epoch, percent in sorted(found.items())]


def _limit(panels: Sequence[GradientPanel]) -> tuple[float, float]:
    """A range that holds 99.9 % of the parameters of every panel, at every epoch shown."""
    low = min(float(np.quantile(panel.gradients, 0.0005)) for panel in panels)
    high = max(float(np.quantile(panel.gradients, 0.9995)) for panel in panels)
    low = 0.0 if min(float(panel.gradients.min()) for panel in panels) >= 0 else low
    return low, high if high > low else low + 1.0


def _histogram(axes: "Axes", panel: GradientPanel, edges: NDArray[np.floating]) -> None:
    from matplotlib import colormaps

    average = panel.average
    axes.hist(average, bins=edges.tolist(), color=_FILL, label="average over epochs")
    # Past 90 % of the colour map, yellow on white is too faint to see.
    colours = colormaps["viridis"].resampled(256)
    shown = stages(len(panel.gradients))
    for position, (percent, epoch) in enumerate(shown):
        counts, _ = np.histogram(panel.gradients[epoch], bins=edges)
        colour = colours(0.88 * position / max(len(shown) - 1, 1))
        # Empty bins break the line: a drop to zero has no place on a logarithmic axis.
        heights = np.where(counts > 0, counts, np.nan)
        axes.stairs(heights, edges, baseline=None, color=colour, linewidth=1.0, label=f"{percent} % of training")
    axes.set_yscale("log")
    sd = f"sd {scientific(panel.sd)}"
    axes.set_title(sd + (f"  (paper {scientific(panel.paper_sd)})" if panel.paper_sd is not None else ""), fontsize=9)
    beyond = float(np.mean((average < edges[0]) | (average > edges[-1])))
    if beyond:
        axes.text(
            0.98, 0.95, f"{100 * beyond:.2g} % beyond", transform=axes.transAxes, ha="right", va="top", fontsize=7.5
        )
    axes.spines[["top", "right"]].set_visible(False)


def scientific(value: float) -> str:
    """Three significant digits as the paper writes them: `9.76·10⁻⁴`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return mantissa + "·10" + str(int(exponent)).replace("-", "⁻").translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def sd_csv(panels: Sequence[GradientPanel]) -> str:
    """The standard deviations as CSV: dataset, method, sd, paper_sd, epsilon."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("dataset", "method", "sd", "paper_sd", "epsilon"))
    for panel in panels:
        paper = "" if panel.paper_sd is None else f"{panel.paper_sd:.3g}"
        epsilon = "" if panel.epsilon is None else rounded_up(panel.epsilon, 6)
        writer.writerow((panel.dataset, panel.method, f"{panel.sd:.6g}", paper, epsilon))
    return text.getvalue()


def figure2(panels: Sequence[GradientPanel], out_stem: Path) -> tuple[Path, Path, Path]:
    """Draw datasets as rows and methods as columns; write `<out_stem>.png`, `.pdf` and `.csv` and return the paths.

    Panels of a row share both axes, so that a narrower histogram is a more concentrated one.
    Raises ValueError without panels, or when a panel's gradients are not a non-empty [epochs, parameters].
    """
    from matplotlib.figure import Figure

    if not panels or any(panel.gradients.ndim != 2 or panel.gradients.size == 0 for panel in panels):
        raise ValueError("figure 2 needs gradients of shape [epochs, parameters], at least one of each")
    datasets = list(dict.fromkeys(panel.dataset for panel in panels))
    methods = list(dict.fromkeys(panel.method for panel in panels))
    out_stem = Path(out_stem)
    with _style():
        figure = Figure(figsize=(0.9 + 3.3 * len(methods), 1.2 + 2.6 * len(datasets)), layout="constrained")
        grid = figure.subplots(len(datasets), len(methods), sharex="row", sharey="row", squeeze=False)
        for row, dataset in enumerate(datasets):
            inside = [panel for panel in panels if panel.dataset == dataset]
            edges = np.linspace(*_limit(inside), 61)
            for column, method in enumerate(methods):
                axes = grid[row][column]
                chosen = [panel for panel in inside if panel.method == method]
                if not chosen:
                    axes.axis("off")
                    continue
                _histogram(axes, chosen[0], edges)
                axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3), useMathText=True)
                if row == 0:
                    axes.annotate(
                        _subscript(method),
                        (0.5, 1),
                        (0, 22),
                        "axes fraction",
                        "offset points",
                        ha="center",
                        weight="bold",
                        fontsize=10,
                    )
                if column == 0:
                    axes.set_ylabel(f"{dataset}\nnumber of parameters", linespacing=1.5)
                if row == len(datasets) - 1:
                    axes.set_xlabel("gradient magnitude before clipping")
        for axes in grid.flat:
            axes.locator_params(axis="x", nbins=5)  # more labels would touch
        handles, labels = max((axes.get_legend_handles_labels() for axes in grid.flat), key=lambda found: len(found[1]))
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6), fontsize=8, frameon=False)
        png, pdf = _save(figure, out_stem)
    table = out_stem.with_name(f"{out_stem.name}.csv")
    write_text(table, sd_csv(panels))
    return png, pdf, table
