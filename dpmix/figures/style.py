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
        "figure.facecolor": "white",
    }
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **settings}):
        yield


def save_figure(figure: "Figure", out_stem: Path) -> tuple[Path, Path]:
    """Write a figure as `<out_stem>.png` and `<out_stem>.pdf`, without dates and versions, and return both paths."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    png, pdf = (out_stem.with_name(f"{out_stem.name}.{kind}") for kind in ("png", "pdf"))
    with atomic_file(png) as temporary:
        figure.savefig(temporary, dpi=160, metadata={"Software": None})
    with atomic_file(pdf) as temporary:
        # Dates and versions would make equal figures differ.
        figure.savefig(temporary, metadata={"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None})
    return png, pdf


def subscript(method: str) -> str:
    """A method's name for a heading: `DP-Mix_Self` with its last part lowered."""
    return SUBSCRIPT.sub(r"$_{\\mathbf{\1}}$", method)


def wrap(text: str, width: int) -> str:
    """`text` with a line break at its ` + ` when it is too long for the image above it; long names are cut."""
    parts = [part if len(part) <= width else part[: width - 1] + "…" for part in text.split(" + ")]
    whole = " + ".join(parts)
    return whole if len(whole) <= width else "\n+ ".join(parts)
