"""A table as rows of dots with intervals, for tables that have no axis of numbers; the paper's numbers are diamonds."""

from typing import Any

from dpmix.report.charts.base import SCHEMA, Chart, Spec, colour, cut, labels, row, shown, unit, varying
from dpmix.report.data import TableData
from dpmix.tables.captions import ACCURACY, MINUTES

# Axes that make panels, where a table has them.
PANELS = ("Dataset", "Model", "Split", "FID model", "Microbatch size")


def dots(data: TableData) -> Chart:
    """The table's cells from top to bottom, in the order of the page; references are black squares."""
    names = varying(data)
    across = [name for name in names if name in PANELS]
    if len(across) == len(names):
        across = across[:-1]
    along = [name for name in names if name not in across]
    rows = []
    for place, one in enumerate(data.cells):
        if not one.cell.values:
            continue
        of = labels(data, one)
        line = " · ".join(label for name in along if (label := of[name])) or data.table.title
        panel = ", ".join(of[name] for name in across if of.get(name))
        rows.append({
            **row(data, place), "panel": panel, "line": shown(line),
            "colour": "var(--ink)" if one.cell.end else colour(one.facets.method),
        })  # fmt: skip
    cut(rows, 100.0 if data.table.unit == ACCURACY else None)
    said = "; ".join(
        f"{(one['panel'] + ', ') if one['panel'] else ''}{one['line']}: {one['text']}" for one in rows[:60]
    )
    return Chart(
        data.table.stem,
        f"{data.table.title}: {unit(data)}",
        f"Dots of {unit(data)}. {said}.",
        _spec(data, rows),
        panel=190,
        margin=min(190, max((7 * len(one["line"]) for one in rows), default=0)) + 40,
        note=_marks(data, rows),
    )


def _marks(data: TableData, rows: list[dict[str, Any]]) -> str:
    """What is drawn beside the table's own numbers."""
    said = ["Open diamonds: the paper."] if any("paper" in one for one in rows) else []
    gpus = sorted({one.limit.gpu.upper() for one in data.cells if one.limit is not None})
    if gpus:
        said.append(
            f"Upright strokes: the counted limit, the operations of a run by itself at the published peak of "
            f"{' or '.join(gpus)}; decoding and augmentation come on top."
        )
    return " ".join(said)


def _spec(data: TableData, rows: list[dict[str, Any]]) -> Spec:
    scale = {"zero": True, "nice": True} if data.table.unit == MINUTES else {"zero": False, "padding": 8}
    x = {
        "field": "value", "type": "quantitative", "title": unit(data), "scale": scale,
        "axis": {"tickCount": 5, "format": "~f"},
    }  # fmt: skip
    y = {
        "field": "line", "type": "nominal", "title": None, "sort": None,
        "axis": {"labelLimit": 190, "ticks": False, "domain": False, "grid": True, "labelPadding": 8},
    }  # fmt: skip
    ink = {"field": "colour", "type": "nominal", "scale": None}
    told = [
        *([{"field": "panel", "title": "of"}] if rows and rows[0]["panel"] else []),
        {"field": "line", "title": "row"}, {"field": "text", "title": unit(data)},
    ]  # fmt: skip
    layers: list[Spec] = [
        {
            "transform": [{"filter": "isValid(datum.low)"}],
            "mark": {"type": "rule", "strokeWidth": 2, "clip": True},
            "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, "color": ink},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "cursor": "pointer"},
            "encoding": {
                "x": x, "y": y, "color": ink, "tooltip": told,
                "shape": {
                    "condition": {"test": "datum.end", "value": "square"}, "value": "circle",
                },
            },
        },
    ]  # fmt: skip
    if any("paper" in one for one in rows):
        layers.append({
            "transform": [{"filter": "isValid(datum.paper)"}],
            "mark": {"type": "point", "shape": "diamond", "size": 60, "stroke": "var(--ink)", "strokeWidth": 1.3},
            "encoding": {"x": {**x, "field": "paper"}, "y": y},
        })  # fmt: skip
    if any("limit" in one for one in rows):
        layers.append({
            "transform": [{"filter": "isValid(datum.limit)"}],
            "mark": {"type": "tick", "orient": "vertical", "color": "var(--ink)", "size": 16, "thickness": 2},
            "encoding": {"x": {**x, "field": "limit"}, "y": y},
        })  # fmt: skip
    panels = list(dict.fromkeys(one["panel"] for one in rows))
    if len(panels) < 2:
        return {"$schema": SCHEMA, "data": {"values": rows}, "width": 360, "height": {"step": 22}, "layer": layers}
    return {
        "$schema": SCHEMA, "data": {"values": rows}, "columns": 2,
        "facet": {"field": "panel", "type": "nominal", "title": None, "sort": panels},
        "spec": {"width": 230, "height": {"step": 20}, "layer": layers},
        "resolve": {"scale": {"x": "independent"}, "axis": {"x": "independent", "y": "independent"}},
    }  # fmt: skip
