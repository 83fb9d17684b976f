"""A curve of test accuracy against ε for each method, with intervals over seeds, between reference lines."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpmix.figures.style import save_figure, style, subscript
from dpmix.tables.statistics import mean, mean_interval

# Okabe and Ito's colours, which can be told apart with any kind of sight, and a mark for each method as well.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKS = ("o", "s", "^", "D", "v", "P")
_LINES = ("--", ":", "-.")
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

    if not curves or not all(curve.accuracies for curve in curves):
        raise ValueError("a curve of accuracy needs one accuracy or more of each method")
    epsilons = sorted({epsilon for curve in curves for epsilon in curve.accuracies})
    several = any(len(values) > 1 for curve in curves for values in curve.accuracies.values())
    with style():
        figure = Figure(figsize=(6.6, 3.9), layout="constrained")
        axes = figure.subplots()
        for index, curve in enumerate(curves):
            shift = 2 ** (_APART * (index - (len(curves) - 1) / 2))
            at = sorted(curve.accuracies)
            found = [_interval(curve.accuracies[epsilon]) for epsilon in at]
            axes.errorbar(
                [epsilon * shift for epsilon in at],
                [center for center, _ in found],
                yerr=[half for _, half in found] if several else None,
                color=_COLOURS[index % 6],
                marker=_MARKS[index % 6],
                markersize=4.5,
                linewidth=1.5,
                elinewidth=1.0,
                capsize=2.5,
                label=subscript(curve.label, bold=False),
                zorder=2,
            )
        low, high = _limits(curves, references)
        for index, (label, values) in enumerate(references.items()):
            height = mean(values)
            assert height is not None
            below = height < low
            axes.axhline(
                math.nan if below else height,
                color="#555555",
                linewidth=1.1,
                linestyle=_LINES[index % 3],
                label=f"{label}: {height:.1f}{' (below)' if below else ''}",
                zorder=1,
            )
        axes.set_ylim(low, high)
        axes.set_xscale("log", base=2)
        axes.set_xticks(epsilons, [f"{epsilon:g}" for epsilon in epsilons])
        axes.minorticks_off()
        axes.set_xlim(epsilons[0] / 1.25, epsilons[-1] * 1.25)
        axes.set_xlabel("ε" + ("   (means over seeds and their 95 % intervals)" if several else ""))
        axes.set_ylabel("test accuracy (%)")
        axes.set_title(title, loc="left")
        axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right upper", fontsize=8, frameon=False)
        return save_figure(figure, out_stem, ("png", "svg"))


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
