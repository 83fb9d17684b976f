"""Shared by both figures: colours, fonts, and saving files whose bytes depend on the data alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpmix.files import atomic_file
from dpmix.tables.text import SUBSCRIPT

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Floats = NDArray[np.float32]

FILL, _INK, _MUTED = "#C9CED6", "#1A1A1A", "#555555"

# Dates and versions would make equal figures differ.
_DATED = {
    "png": ("Software",),
    "pdf": ("CreationDate", "ModDate", "Producer", "Creator"),
    "svg": ("Date", "Creator", "Format", "Type"),
}

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@contextmanager
def style() -> Iterator[None]:
    """A context with the matplotlib settings of the figures."""
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
        "svg.hashsalt": "dpmix",
        "figure.facecolor": "white",
    }
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **settings}):
        yield


def save_figure(figure: "Figure", out_stem: Path, kinds: tuple[str, ...] = ("png", "pdf")) -> tuple[Path, ...]:
    """Write a figure as `<out_stem>.<kind>` for each of the kinds, without dates and versions, and return the paths.

    Args:
        figure: what is drawn.
        out_stem: the path without an ending.
        kinds: of `png`, `pdf` and `svg`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    paths = tuple(out_stem.with_name(f"{out_stem.name}.{kind}") for kind in kinds)
    for kind, path in zip(kinds, paths, strict=True):
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=160, metadata=dict.fromkeys(_DATED[kind]))
    return paths


def subscript(method: str, bold: bool = True) -> str:
    """A method's name for a heading or, not bold, for a legend: `DP-Mix_Self` with its last part lowered."""
    return SUBSCRIPT.sub(rf"$_{{\\math{'bf' if bold else 'rm'}{{\1}}}}$", method)


def wrap(text: str, width: int) -> str:
    """`text` with a line break at its ` + ` when it is too long for the image above it; long names are cut."""
    parts = [part if len(part) <= width else part[: width - 1] + "…" for part in text.split(" + ")]
    whole = " + ".join(parts)
    return whole if len(whole) <= width else "\n+ ".join(parts)
