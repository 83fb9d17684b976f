"""Figure 2: densities of gradient magnitudes through training."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dpmix.figures.density import density
from dpmix.files import write_text
from dpmix.privacy.accounting import rounded_up

if TYPE_CHECKING:
    from matplotlib.axes import Axes
from dpmix.figures.style import FILL, Floats, save_figure, style, subscript


@dataclass(frozen=True)
class GradientPanel:
    """One panel of Figure 2.

    Attributes:
        dataset: its label.
        method: its label.
        gradients: float32 [epochs, parameters], the mean over an epoch's examples of |gradient| before clipping.
        paper_sd: the standard deviation that the paper gives, if any.
        epsilon: the ε that the run spent.
    """

    dataset: str
    method: str
    gradients: Floats
    paper_sd: float | None = None
    epsilon: float | None = None

    @property
    def average(self) -> Floats:
        """[parameters]: the mean over epochs, which the filled density shows."""
        average: Floats = np.asarray(self.gradients, dtype=np.float64).mean(axis=0).astype(np.float32)
        return average

    @property
    def sd(self) -> float:
        """The standard deviation, over parameters, of the mean over epochs."""
        return float(np.asarray(self.gradients, dtype=np.float64).mean(axis=0).std())


def stages(epochs: int, parts: int = 10) -> list[tuple[int, int]]:
    """The epochs that are drawn: (per cent of training, index of the epoch), one for each of `parts` equal parts.

    With fewer epochs than parts, every epoch once.
    """
    found: dict[int, int] = {}
    for part in range(1, parts + 1):
        found.setdefault(max(math.ceil(epochs * part / parts - 1e-9) - 1, 0), 100 * part // parts)
    if epochs < parts:
        found = {epoch: round(100 * (epoch + 1) / epochs) for epoch in range(epochs)}
    return [(percent, epoch) for epoch, percent in sorted(found.items())]


def _limit(panels: Sequence[GradientPanel]) -> tuple[float, float]:
    """A range that holds 99.9 % of the parameters of every panel, at every epoch shown, and some room to its right."""
    shown = [panel.gradients[epoch] for panel in panels for _, epoch in stages(len(panel.gradients))]
    low = min(float(np.quantile(one, 0.0005)) for one in shown)
    high = max(float(np.quantile(one, 0.9995)) for one in shown)
    low = 0.0 if min(float(one.min()) for one in shown) >= 0 else low
    return low, high + 0.08 * (high - low) if high > low else low + 1.0


# How far below its peak a density is drawn, as a share of the peak.
_FLOOR = 1e-4


def _densities(axes: "Axes", panel: GradientPanel, at: NDArray[np.floating]) -> None:
    from matplotlib import colormaps

    average = panel.average
    axes.fill_between(at, density(average, at), 0.0, color=FILL, linewidth=0, label="average over epochs")
    # Past 90 % of the colour map, yellow on white is too faint to see.
    colours = colormaps["viridis"].resampled(256)
    shown = stages(len(panel.gradients))
    for position, (percent, epoch) in enumerate(shown):
        colour = colours(0.88 * position / max(len(shown) - 1, 1))
        curve = density(panel.gradients[epoch], at)
        axes.plot(at, curve, color=colour, linewidth=1.0, label=f"{percent} % of training")
    sd = f"sd {scientific(panel.sd)}"
    axes.set_title(sd + (f"  (paper {scientific(panel.paper_sd)})" if panel.paper_sd is not None else ""), fontsize=9)
    beyond = float(np.mean((average < at[0]) | (average > at[-1])))
    if beyond:
        axes.text(
            0.98, 0.95, f"{100 * beyond:.2g} % beyond", transform=axes.transAxes, ha="right", va="top", fontsize=7.5
        )
    axes.spines[["top", "right"]].set_visible(False)


def _peak(axes: "Axes") -> float:
    """The highest point of a panel's curves."""
    return max((float(np.max(np.asarray(line.get_ydata()))) for line in axes.lines), default=1.0)


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
    """Draw Figure 2: data sets as rows, methods as columns. Panels of a row share both axes, to be compared.

    Args:
        panels: the densities.
        out_stem: `<out_stem>.png`, `.pdf` and `.csv` are written.

    Returns:
        The three paths.

    Raises:
        ValueError: without panels, or if a panel's gradients are empty or not of shape [epochs, parameters].
    """
    from matplotlib.figure import Figure

    if not panels or any(panel.gradients.ndim != 2 or panel.gradients.size == 0 for panel in panels):
        raise ValueError("figure 2 needs gradients of shape [epochs, parameters], at least one of each")
    datasets = list(dict.fromkeys(panel.dataset for panel in panels))
    methods = list(dict.fromkeys(panel.method for panel in panels))
    out_stem = Path(out_stem)
    with style():
        figure = Figure(figsize=(0.9 + 3.3 * len(methods), 1.2 + 2.6 * len(datasets)), layout="constrained")
        grid = figure.subplots(len(datasets), len(methods), sharex="row", sharey="row", squeeze=False)
        for row, dataset in enumerate(datasets):
            inside = [panel for panel in panels if panel.dataset == dataset]
            at = np.linspace(*_limit(inside), 241)
            for column, method in enumerate(methods):
                axes = grid[row][column]
                chosen = [panel for panel in inside if panel.method == method]
                if not chosen:
                    axes.axis("off")
                    continue
                _densities(axes, chosen[0], at)
                axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3), useMathText=True)
                if row == 0:
                    axes.annotate(
                        subscript(method),
                        (0.5, 1),
                        (0, 22),
                        "axes fraction",
                        "offset points",
                        ha="center",
                        weight="bold",
                        fontsize=10,
                    )
                if column == 0:
                    axes.set_ylabel(f"{dataset}\ndensity of parameters", linespacing=1.5)
                if row == len(datasets) - 1:
                    axes.set_xlabel("gradient magnitude before clipping")
            highest = max(_peak(axes) for axes in grid[row])
            for axes in grid[row]:
                axes.set_yscale("log")
                axes.set_ylim(highest * _FLOOR, highest * 1.6)
                axes.set_xlim(at[0], at[-1])
        for axes in grid.flat:
            axes.locator_params(axis="x", nbins=5)  # more labels would touch
        handles, labels = max((axes.get_legend_handles_labels() for axes in grid.flat), key=lambda found: len(found[1]))
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6), fontsize=8, frameon=False)
        png, pdf = save_figure(figure, out_stem)
    table = out_stem.with_name(f"{out_stem.name}.csv")
    write_text(table, sd_csv(panels))
    return png, pdf, table
