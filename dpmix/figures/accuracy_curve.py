"""Curves of test accuracy against ε, one for each method, with intervals over seeds, between reference lines."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmix.figures.style import save_figure, style, subscript
from dpmix.tables.statistics import mean, mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which can be told apart with any kind of sight, and a mark for each method as well.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKS = ("o", "s", "^", "D", "v", "P")
_LINES = ("--", ":", "-.")
_BELOW = " (below)"
_APART = 0.035  # of an octave of ε: between the intervals of two methods at one ε


@dataclass(frozen=True)
class Curve:
    """One method.

    Attributes:
        label: what it is called.
        accuracies: by ε, the test accuracies in per cent, one for each seed.
    """

    label: str
    accuracies: Mapping[float, Sequence[float]]


@dataclass(frozen=True)
class Panel:
    """The curves of one data set.

    Attributes:
        title: above the panel.
        curves: one for each method.
        references: by label, accuracies that no ε bounds, one for each seed.
    """

    title: str
    curves: Sequence[Curve]
    references: Mapping[str, Sequence[float]]


def accuracy_curve(
    curves: Sequence[Curve], references: Mapping[str, Sequence[float]], title: str, out_stem: Path
) -> tuple[Path, ...]:
    """Draw the curves, means over seeds with 95 % intervals, and a horizontal line for each reference.

    Args:
        curves: one for each method.
        references: by label, accuracies that no ε bounds, one for each seed.
        title: of the picture.
        out_stem: `<out_stem>.png` and `.svg` are written.

    Returns:
        Both paths.

    Raises:
        ValueError: without curves, or for one without accuracies.
    """
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(6.6, 3.9), layout="constrained")
        axes = figure.subplots()
        panel = Panel(title, curves, {_counted(label, values): values for label, values in references.items()})
        _draw(axes, panel, [curve.label for curve in curves], list(panel.references))
        axes.set_xlabel("ε" + _of_seeds([panel]))
        axes.set_ylabel("test accuracy (%)")
        figure.legend(loc="outside right upper", fontsize=8, frameon=False)
        return save_figure(figure, out_stem, ("png", "svg"))


def accuracy_panels(panels: Sequence[Panel], out_stem: Path) -> tuple[Path, ...]:
    """Draw several panels side by side, each with its own range of accuracies, under one legend.

    A curve or reference line with the same label looks the same in all of them.

    Args:
        panels: from left to right.
        out_stem: `<out_stem>.png` and `.svg` are written.

    Returns:
        Both paths.

    Raises:
        ValueError: without panels, or for one without curves, or for a curve without accuracies.
    """
    from matplotlib.figure import Figure

    if not panels:
        raise ValueError("a picture needs one panel or more")
    methods = list(dict.fromkeys(curve.label for panel in panels for curve in panel.curves))
    references = list(dict.fromkeys(label for panel in panels for label in panel.references))
    with style():
        figure = Figure(figsize=(1.0 + 2.6 * len(panels), 3.6), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        shown: dict[str, Any] = {}
        for axes, panel in zip(grid, panels, strict=True):
            _draw(axes, panel, methods, references)
            axes.set_xlabel("ε")
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                shown[label.removesuffix(_BELOW)] = handle
        grid[0].set_ylabel("test accuracy (%)" + _of_seeds(panels).replace("   ", "\n"))
        names = [*(subscript(method, bold=False) for method in methods), *references]
        figure.legend(
            [shown[name] for name in names], names,
            loc="outside lower center", ncols=min(len(names), 4), fontsize=8, frameon=False,
        )  # fmt: skip
        return save_figure(figure, out_stem, ("png", "svg"))


def _counted(label: str, values: Sequence[float]) -> str:
    """A reference's label with its height."""
    return f"{label}: {_height(values):.1f}"


def _height(values: Sequence[float]) -> float:
    height = mean(values)
    assert height is not None
    return height


def _of_seeds(panels: Sequence[Panel]) -> str:
    """What the marks and bars are, if any curve has an interval."""
    return "   (means over seeds and their 95 % intervals)" if any(map(_several, panels)) else ""


def _several(panel: Panel) -> bool:
    return any(len(values) > 1 for curve in panel.curves for values in curve.accuracies.values())


def _draw(axes: "Axes", panel: Panel, methods: Sequence[str], references: Sequence[str]) -> None:
    """One panel; the places of labels in `methods` and `references` give colours, marks and kinds of line."""
    if not panel.curves or not all(curve.accuracies for curve in panel.curves):
        raise ValueError("a curve of accuracy needs one accuracy or more of each method")
    epsilons = sorted({epsilon for curve in panel.curves for epsilon in curve.accuracies})
    for curve in panel.curves:
        index = methods.index(curve.label)
        shift = 2 ** (_APART * (index - (len(methods) - 1) / 2))
        at = sorted(curve.accuracies)
        found = [_interval(curve.accuracies[epsilon]) for epsilon in at]
        axes.errorbar(
            [epsilon * shift for epsilon in at],
            [center for center, _ in found],
            yerr=[half for _, half in found] if _several(panel) else None,
            color=_COLOURS[index % 6],
            marker=_MARKS[index % 6],
            markersize=4.5,
            linewidth=1.5,
            elinewidth=1.0,
            capsize=2.5,
            label=subscript(curve.label, bold=False),
            zorder=2,
        )
    low, high = _limits(panel.curves, panel.references)
    for label, values in panel.references.items():
        height = _height(values)
        below = height < low
        axes.axhline(
            math.nan if below else height,
            color="#555555",
            linewidth=1.1,
            linestyle=_LINES[references.index(label) % 3],
            label=f"{label}{_BELOW if below else ''}",
            zorder=1,
        )
    axes.set_ylim(low, high)
    axes.set_xscale("log", base=2)
    axes.set_xticks(epsilons, [f"{epsilon:g}" for epsilon in epsilons])
    axes.minorticks_off()
    axes.set_xlim(epsilons[0] / 1.25, epsilons[-1] * 1.25)
    axes.set_title(panel.title, loc="left")
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _limits(curves: Sequence[Curve], references: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """The range of accuracies that is shown: of all curves, with their intervals, and references above them.

    A reference far below the curves would squeeze them; the legend alone has it then.
    """
    found = [_interval(values) for curve in curves for values in curve.accuracies.values()]
    ends = [end for center, half in found for end in (center, center - half, center + half) if not math.isnan(end)]
    heights = [sum(values) / len(values) for values in references.values()]
    low, high = max(0.0, min(ends)), min(100.0, max([*ends, *heights]))
    room = max(high - low, 2.0)
    low = min([low, *(height for height in heights if height > low - room)])
    return max(0.0, low - 0.08 * room) if low > 0 else -1.0, min(101.0, high + 0.08 * room)


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half the length of its 95 % interval; of one value, which has none, nothing is drawn."""
    if len(values) < 2:
        return values[0], math.nan
    interval = mean_interval(values)
    return interval.estimate, interval.high - interval.estimate
