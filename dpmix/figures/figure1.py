"""Figure 1: the views of one example, each captioned with its parents, mixing weight and label."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure
from dpmix.figures.style import SUBSCRIPTS, Floats, save_figure, style, wrap

# From the palette of Okabe and Ito, which can be told apart with every common form of colour blindness.
_PRIVATE, _SYNTHETIC, _MIXED = "#0072B2", "#D55E00", "#007A5A"

# Lengths in inches: side of an image, margin of the page, height of a heading. The gap is relative to an image's side.
_MOST_COLUMNS, _SIDE, _MARGIN, _HEADING, _GAP = 9, 1.1, 0.12, 0.36, 0.14


@dataclass(frozen=True)
class Figure1Data:
    """One private example and the views that Algorithm 1 makes of it. Images are float in [0, 1].

    Attributes:
        image: [C, H, W], the example.
        label: the name of its class.
        base: [K_base, C, H, W], augmented views.
        synthetic: [K_diff, C, H, W], images of D.
        synthetic_labels: the names of their classes.
        mixed: [K_self, C, H, W], mixtures of pairs.
        weights: [K_self], the λ of each mixture.
        targets: [K_self, classes], the soft label of each mixture.
        classes: the names of the classes.
        pairs: [K_self, 2], the two members of S in each mixture: base views are counted first, then synthetic ones.
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


def _share(value: float) -> str:
    """A weight to two decimals; 1 and 0 are printed only for exactly 1 and 0."""
    if value in (0.0, 1.0):
        return f"{value:.0f}"
    return f"{min(max(value, 0.01), 0.99):.2f}".removeprefix("0")


def soft_label(target: Sequence[float], classes: Sequence[str]) -> str:
    """A soft label in words, heaviest class first: `.83 cat + .17 dog`, or `cat` when it is one-hot."""
    weights = [(float(weight), name) for weight, name in zip(target, classes, strict=True) if weight > 0]
    weights.sort(key=lambda entry: -entry[0])
    # Where both parents have the same class, the float32 sum λ + (1 - λ) may differ from 1 by rounding.
    if len(weights) == 1 and math.isclose(weights[0][0], 1.0, abs_tol=1e-4):
        return weights[0][1]
    return " + ".join(f"{_share(weight)} {name}" for weight, name in weights)


def _parent(index: int, base: int) -> str:
    return (f"x{index + 1}" if index < base else f"z{index - base + 1}").translate(SUBSCRIPTS)


def _recipe(data: Figure1Data, index: int) -> str:
    """The two parents, where known, and λ: `x₁₂, z₁: λ = .95`."""
    weight = f"λ = {_share(float(data.weights[index]))}"
    if data.pairs is None:
        return weight
    return ", ".join(_parent(int(parent), len(data.base)) for parent in data.pairs[index]) + f":  {weight}"


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
            f"{_parent(base + index, base)}: {wrap(name, 16)}" for index, name in enumerate(data.synthetic_labels)
        )
        sections.append(_Section(f"From the synthetic set, {len(data.synthetic)}", data.synthetic, names, _SYNTHETIC))
    if len(data.mixed):
        labels = (wrap(soft_label(target, data.classes), 20) for target in data.targets)
        recipes = tuple(f"{_recipe(data, index)}\n{label}" for index, label in enumerate(labels))
        heading = f"Mixed pairs, {len(data.mixed)}:  λ·first + (1−λ)·second"
        sections.append(_Section(heading, data.mixed, recipes, _MIXED))
    return sections


def figure1(panels: Figure1Data, out_stem: Path) -> tuple[Path, ...]:
    """Draw Figure 1: the views of one example.

    Args:
        panels: the example and its views.
        out_stem: `<out_stem>.png` and `<out_stem>.pdf` are written.

    Returns:
        Both paths.
    """
    from matplotlib.figure import Figure

    sections = _sections(panels)
    columns = min(max(max(len(section.images) for section in sections), 4), _MOST_COLUMNS)
    heights = [section.height(columns, _SIDE) for section in sections]
    with style():
        figure = Figure(figsize=(_width(columns, _SIDE), sum(heights)))
        parts = figure.subfigures(len(sections), 1, height_ratios=heights, hspace=0.0, squeeze=False)[:, 0]
        for part, section in zip(parts, sections, strict=True):
            section.draw(part, columns, _SIDE)
        return save_figure(figure, Path(out_stem))
