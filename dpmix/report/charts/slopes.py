"""A table of three settings A, B and C as slopes: a line from A over B to C for each data set and model."""

from dpmix.report.charts.base import SCHEMA, Chart, cut, labels, row, unit, varying
from dpmix.report.data import TableData

_STEPS = ("A", "B", "C")
_COLOURS = ("var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c7)")


def has_steps(data: TableData) -> bool:
    """Whether the table's methods are called A, B and C."""
    seen = {labels(data, cell).get("Method") for cell in data.cells if cell.cell.values and not cell.cell.end}
    return seen == set(_STEPS)


def slopes(data: TableData) -> Chart:
    """The table's cells along A, B and C: a panel for each model, a line for each data set; references are left out."""
    across = [name for name in varying(data) if name not in ("Method", "Dataset")]
    rows = []
    for place, one in enumerate(data.cells):
        of = labels(data, one)
        if one.cell.values and not one.cell.end:
            panel = ", ".join(of[name] for name in across)
            rows.append({**row(data, place), "panel": panel, "step": of["Method"], "line": of.get("Dataset", "")})
    cut(rows)
    lines = list(dict.fromkeys(one["line"] for one in rows))
    panels = list(dict.fromkeys(one["panel"] for one in rows))
    x = {"field": "step", "type": "ordinal", "title": None, "axis": {"labelAngle": 0, "labelFontSize": 13}}
    y = {"field": "value", "type": "quantitative", "title": unit(data), "scale": {"zero": False, "nice": True}}
    colours = {
        "field": "line", "type": "nominal", "title": None,
        "scale": {"domain": lines, "range": [_COLOURS[place % 6] for place in range(len(lines))]},
    }  # fmt: skip
    offset = {"field": "line", "type": "nominal"}
    spec = {
        "$schema": SCHEMA, "data": {"values": rows}, "columns": 2,
        "facet": {"field": "panel", "type": "nominal", "title": None, "sort": panels},
        "spec": {
            "width": 230, "height": 190,
            "layer": [
                {
                    "transform": [{"filter": "isValid(datum.low)"}],
                    "mark": {"type": "rule", "strokeWidth": 1.4, "opacity": 0.7},
                    "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colours},
                },
                {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"x": x, "y": y, "color": colours}},
                {
                    "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "cursor": "pointer"},
                    "encoding": {
                        "x": x, "y": y, "color": colours,
                        "shape": {**offset, "title": None, "scale": {"domain": lines}},
                        "tooltip": [{"field": "line", "title": "data set"}, {"field": "panel", "title": "model"},
                                    {"field": "step"}, {"field": "text", "title": unit(data)}],
                    },
                },
            ],
        },
        "resolve": {"scale": {"y": "independent"}},
    }  # fmt: skip
    said = "; ".join(f"{one['line']}, {one['panel']}, {one['step']}: {one['text']}" for one in rows)
    title = f"{data.table.title}: {unit(data)} from A to C"
    return Chart(data.table.stem, title, f"Slopes of {unit(data)}. {said}.", spec)
