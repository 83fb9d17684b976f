"""Accuracy along an axis of numbers, such as ε or the number of views: a panel for each data set and model."""

import math
import re
from typing import Any

from dpmix.report.charts.base import SCHEMA, Chart, Spec, cut, labels, method_scales, row, shown, unit, varying
from dpmix.report.data import TableData
from dpmix.tables.captions import ACCURACY, EPSILON

# Axes that make panels, where a table has them.
PANELS = ("Training", "Dataset", "Model", "As", "Epoch")
_EPSILON = "ε"
_APART = 0.05  # of a doubling, between the intervals of two methods at one ε


def axis_of_numbers(data: TableData) -> str | None:
    """The axis along which a table can be drawn as curves: ε, or one whose labels are numbers; None if it has none."""
    names = varying(data)
    for name in (*(name for name in names if name in (_EPSILON, "Nominal")), *names):
        seen = {labels(data, cell)[name] for cell in data.cells if cell.cell.values and not cell.cell.end}
        if len(seen) > 1 and all(number(label) is not None for label in seen):
            return name
    return None


def number(label: str) -> float | None:
    """The number that a label is, or says: `ε = 4`, `16`; None if it is none."""
    found = re.fullmatch(r"(?:\S+ = )?(\d+(?:\.\d+)?)", label)
    return float(found[1]) if found else None


def curves(data: TableData, axis: str) -> Chart:
    """The table's cells along one of its axes: a curve for each method, with intervals; references are lines.

    Args:
        data: the table.
        axis: the name of an axis whose labels are numbers.
    """
    names = varying(data)
    across = [name for name in names if name in PANELS]
    along = [name for name in names if name not in (axis, *across)]
    rows, references = [], []
    for place, one in enumerate(data.cells):
        if not one.cell.values or not math.isfinite(one.cell.center or 0.0):
            continue
        of = labels(data, one)
        values = {**row(data, place), "panel": ", ".join(of[name] for name in across if of.get(name))}
        at = number(of[axis])
        curve = " · ".join(of[name] for name in along if of.get(name)) or data.table.title
        if one.cell.end:
            references.append({**values, "reference": curve})
        elif at is not None:
            rows.append({**values, "at": at, "curve": shown(curve), "method": curve})
    lines = list(dict.fromkeys(one["method"] for one in rows))
    log = axis in (_EPSILON, "Nominal")
    span = (max(one["at"] for one in rows) - min(one["at"] for one in rows)) / 5
    for point in rows:
        shift = _APART * (lines.index(point.pop("method")) - (len(lines) - 1) / 2)
        point["x"] = round(point["at"] * 2**shift if log else point["at"] + shift * span, 4)
    cut([*rows, *references], 100.0 if data.table.unit == ACCURACY else None)
    return Chart(
        data.table.stem,
        f"{data.table.title}: {unit(data)} against {axis}",
        _words(data, axis, rows),
        _spec(data, axis, log, [*rows, *_once(references)], lines),
        panel=140,
        note="Short level strokes: the paper." if any("paper" in one for one in rows) else "",
    )


def _once(references: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A reference is the same at every ε: one line for each panel."""
    return list({(one["panel"], one["reference"]): one for one in references}.values())


def _spec(data: TableData, axis: str, log: bool, rows: list[dict[str, Any]], lines: list[str]) -> Spec:
    colours, marks = method_scales(lines)
    ticks = sorted({one["at"] for one in rows if "at" in one})
    room = 0.08 * (ticks[-1] - ticks[0])
    ends = [ticks[0] / 1.25, ticks[-1] * 1.25] if log else [ticks[0] - room, ticks[-1] + room]
    scale: Spec = {"domain": ends, "nice": False} | ({"type": "log", "base": 2} if log else {})
    x = {
        "field": "x", "type": "quantitative", "title": axis, "scale": scale,
        "axis": {"values": ticks, "format": "~g", "grid": False},
    }  # fmt: skip
    y = {"field": "value", "type": "quantitative", "title": unit(data), "scale": {"zero": False, "nice": True}}
    if data.table.unit == EPSILON:
        y |= {
            "title": "ε as it is counted",
            "scale": {"type": "log", "base": 2, "nice": True},
            "axis": {"format": "~g"},
        }
    colour = {"field": "curve", "type": "nominal", "title": None, "scale": colours}
    told = [
        {"field": "panel", "title": " / ".join(name for name in PANELS if name in varying(data)) or "of"},
        {"field": "curve", "title": "curve"},
        {"field": "at", "title": axis},
        {"field": "text", "title": unit(data)},
    ]
    dashes = sorted({one["reference"] for one in rows if "reference" in one})
    layers: list[Spec] = [
        {
            "transform": [{"filter": "isValid(datum.low) && isValid(datum.curve)"}],
            "mark": {"type": "rule", "strokeWidth": 1.2, "opacity": 0.75, "clip": True},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
        },
        {
            "transform": [{"filter": "isValid(datum.curve)"}],
            "mark": {"type": "line", "strokeWidth": 2},
            "encoding": {"x": x, "y": y, "color": colour},
        },
        {
            "transform": [{"filter": "isValid(datum.curve)"}],
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1, "cursor": "pointer"},
            "encoding": {
                "x": x, "y": y, "color": colour, "tooltip": told,
                "shape": {"field": "curve", "type": "nominal", "title": None, "scale": marks},
            },
        },
    ]  # fmt: skip
    if any("paper" in one for one in rows):
        layers.append({
            "transform": [{"filter": "isValid(datum.paper) && isValid(datum.curve)"}],
            "mark": {"type": "tick", "orient": "horizontal", "size": 16, "thickness": 2},
            "encoding": {"x": x, "y": {**y, "field": "paper"}, "color": colour},
        })  # fmt: skip
    if dashes:
        layers.insert(0, {
            "transform": [{"filter": "isValid(datum.reference)"}],
            "mark": {"type": "rule", "strokeWidth": 1.4, "color": "var(--soft)"},
            "encoding": {
                "y": y,
                "strokeDash": {
                    "field": "reference", "type": "nominal", "title": None,
                    "scale": {"domain": dashes, "range": [[6, 3], [2, 3], [8, 3, 2, 3]][: len(dashes)]},
                    "legend": {"symbolStrokeColor": "var(--soft)", "symbolType": "stroke"},
                },
                "tooltip": [{"field": "reference", "title": "reference"}, {"field": "text", "title": unit(data)}],
            },
        })  # fmt: skip
    panels = list(dict.fromkeys(one["panel"] for one in rows))
    if len(panels) < 2:
        return {"$schema": SCHEMA, "data": {"values": rows}, "width": 420, "height": 230, "layer": layers}
    return {
        "$schema": SCHEMA, "data": {"values": rows}, "columns": 2,
        "facet": {"field": "panel", "type": "nominal", "title": None, "sort": panels},
        "spec": {"width": 250, "height": 180, "layer": layers},
        "resolve": {"scale": {"y": "independent"}, "axis": {"x": "independent"}},
    }  # fmt: skip


def _words(data: TableData, axis: str, rows: list[dict[str, Any]]) -> str:
    """Each curve from its first to its last point."""
    ends: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in rows:
        ends.setdefault((one["panel"], one["curve"]), []).append(one)
    said = []
    for (panel, curve), found in list(ends.items())[:24]:
        first, last = min(found, key=lambda one: one["at"]), max(found, key=lambda one: one["at"])
        where = f"{panel}, {curve}" if panel else curve
        said.append(f"{where}: {first['text']} at {axis} {first['at']:g} to {last['text']} at {last['at']:g}")
    return f"Curves of {unit(data)} along {axis}. {'; '.join(said)}."
