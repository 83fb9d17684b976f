"""What all pictures share: a chart's parts, colours by method, and cells as rows of data.

Colours are names of CSS variables, so that one specification serves a light and a dark page; `render` puts the light
page's colours in their place for files. They are told apart with every common kind of sight, and each method has a
mark of its own besides.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dpmix.report.data import CellData, TableData
from dpmix.tables.captions import ACCURACY, DISTANCE, EPSILON, MINUTES
from dpmix.tables.text import SUBSCRIPT, ours

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"

METHODS = (
    "Self-Aug", "DP-Mix_Self", "DP-Mix_Diff", "Mixed Ghost", "Pure-DP-Mix_Diff", "DP-SGD", "Microbatch", "ModelMix",
)  # fmt: skip
"""Methods that have a colour and a mark of their own on every picture; all others are grey."""

_SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right", "triangle-left")
_OTHER = "var(--c0)"
# Units of which an interval over seeds may reach below zero, where there can be nothing.
_NEVER_NEGATIVE = (ACCURACY, DISTANCE, EPSILON, MINUTES)
VERDICTS = {"supported": "var(--yes)", "contradicted": "var(--no)", "undecided": "var(--soft)"}


@dataclass(frozen=True)
class Chart:
    """A picture.

    Attributes:
        name: of its files, and of its place in the page: `table3`, `claims`.
        title: what it shows, in a few words.
        alternative: what a person who cannot see it should know.
        spec: in Vega-Lite; its rows of data are in `data.values`, with the facets of their cells.
        panel: the width in pixels that one of its panels should have at least.
        margin: the width in pixels that labels take beside each panel.
        note: what its marks are, where it has others than its table's own numbers.
        filtered: whether filters of the page leave out rows; not where a row is of several cells, as a claim is.
    """

    name: str
    title: str
    alternative: str
    spec: Spec
    panel: int = 230
    margin: int = 70
    note: str = ""
    filtered: bool = True


def colour(method: str) -> str:
    """The colour of a method, as a CSS variable."""
    return f"var(--c{METHODS.index(method) + 1})" if method in METHODS else _OTHER


def shown(method: str) -> str:
    """A method's name as text in a picture, which has no subscripts: `DP-Mix Self`."""
    return SUBSCRIPT.sub(r" \1", method)


def method_scales(methods: Iterable[str]) -> tuple[Spec, Spec]:
    """The scales of colours and of marks for these methods, in the same order on every picture.

    A variant, such as `ModelMix (Theorem B)`, has the colour of the method that its name begins with, and a mark that
    is left; a name that is no method is grey. Where none is a method, they have all colours.
    """
    named = sorted(dict.fromkeys(methods), key=lambda one: METHODS.index(one) if one in METHODS else len(METHODS))
    left = iter([place for place, method in enumerate(METHODS) if method not in named])
    places = [METHODS.index(one) if one in METHODS else next(left, None) for one in named]
    of = [_method_of(one) for one in named]
    own = [METHODS.index(one) if one else None for one in of] if any(of) else places
    domain = [shown(one) for one in named]
    colours = [_OTHER if place is None else f"var(--c{place + 1})" for place in own]
    marks = ["circle" if place is None else _SHAPES[place] for place in places]
    return {"domain": domain, "range": colours}, {"domain": domain, "range": marks}


def _method_of(name: str) -> str | None:
    """The method that a name is or begins with; None if there is none."""
    return next((method for method in METHODS if name == method or name.startswith(f"{method} ")), None)


def labels(data: TableData, cell: CellData) -> dict[str, str]:
    """A cell's labels by the names of the table's axes."""
    names = (*data.table.row_names, *data.table.column_names)
    return dict(zip(names, (*cell.cell.row, *cell.cell.column), strict=True))


def varying(data: TableData) -> list[str]:
    """The names of the axes on which the table's measured cells differ."""
    found: dict[str, set[str]] = {}
    for cell in data.cells:
        if cell.cell.values and not cell.cell.end:
            for name, label in labels(data, cell).items():
                found.setdefault(name, set()).add(label)
    return [name for name, seen in found.items() if len(seen) > 1]


def row(data: TableData, place: int) -> dict[str, Any]:
    """A cell as a row of data: its centre, interval and text, its facets, and which cell a click on it opens."""
    one = data.cells[place]
    scale = _time(data)[0] if data.table.unit == MINUTES else 1.0
    low, high = (one.interval.low, one.interval.high) if one.interval is not None else (None, None)
    center = one.cell.center
    assert center is not None
    found: dict[str, Any] = {
        "value": _digits(center * scale),
        "text": ours(one.cell, data.table),
        "opens": f"{data.table.stem}/{place}",
        **{f"f_{name}": value for name, value in vars(one.facets).items() if value},
    }
    if one.cell.end:
        found["end"] = True
    if low is not None and high is not None:
        least = 0.0 if data.table.unit in _NEVER_NEGATIVE else -math.inf
        found |= {"low": _digits(max(low * scale, least)), "high": _digits(high * scale)}
    if one.cell.paper is not None and one.cell.paper.mean is not None:
        found["paper"] = _digits(one.cell.paper.mean * scale)
    if one.limit is not None:
        found["limit"] = _digits(one.limit.minutes * scale)
    return found


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def unit(data: TableData) -> str:
    """What the value axis is called."""
    return f"running time ({_time(data)[1]})" if data.table.unit == MINUTES else data.table.unit


def _time(data: TableData) -> tuple[float, str]:
    """Of a table of minutes: by how much they are multiplied in its picture, and the unit that this gives."""
    papers = [one.cell.paper.mean for one in data.cells if one.cell.paper is not None]
    longest = max((value for value in (*papers, *(one.cell.center for one in data.cells)) if value), default=0.0)
    return (60.0, "s") if longest < 5 else (1.0, "min") if longest < 300 else (1 / 60, "h")


def cut(rows: Sequence[dict[str, Any]], most: float | None = None) -> None:
    """Shorten intervals, in place, that would squeeze all else in their panel.

    Of few seeds an interval may be several times as wide as the means are apart. A cut one reaches 60 % of that beyond
    the outermost mean.

    Args:
        rows: of data, with the entries of `row`.
        most: the largest value that there can be, such as 100 %.
    """
    panels: dict[str, list[dict[str, Any]]] = {}
    for one in rows:
        panels.setdefault(one.get("panel", ""), []).append(one)
    for inside in panels.values():
        centers = [one[name] for one in inside for name in ("value", "paper") if one.get(name) is not None]
        low, high = min(centers), max(centers)
        room = 0.6 * max(high - low, 0.02 * max(abs(high), 1.0))
        for one in inside:
            if "low" in one:
                one["low"] = _digits(max(one["low"], low - room))
                one["high"] = _digits(min(one["high"], high + room, math.inf if most is None else most))
