"""A table over three numbers of views as heat maps: K_SELF by K_DIFF, one map for each K_BASE."""

from dpmix.report.charts.base import SCHEMA, Chart, Spec, labels, row, unit, varying
from dpmix.report.charts.curves import number
from dpmix.report.data import TableData


def axes_of_views(data: TableData) -> tuple[str, ...] | None:
    """The table's axes that are numbers of views, outermost first; None unless it has two or three and no other."""
    names = varying(data)
    views = tuple(name for name in names if name.startswith("K_"))
    return views if len(views) == len(names) and len(views) in (2, 3) else None


def heat(data: TableData, axes: tuple[str, ...]) -> Chart:
    """The table's cells as squares, darker where the value is higher, each with its value.

    Args:
        data: the table.
        axes: its axes of views, outermost first.
    """
    *across, x, y = axes
    rows = []
    for place, one in enumerate(data.cells):
        of = labels(data, one)
        if one.cell.values and all(number(of[name]) is not None for name in axes):
            panel = ", ".join(f"{name.replace('_', ' ')} = {of[name]}" for name in across)
            numbers = {"x": number(of[x]), "y": number(of[y])}
            rows.append({**row(data, place), "panel": panel, **numbers, "label": f"{one.cell.center:.1f}"})
    said = "; ".join(f"{one['panel']}, {x} {one['x']:g}, {y} {one['y']:g}: {one['text']}" for one in rows)
    encoding: Spec = {
        "x": {"field": "x", "type": "ordinal", "title": x.replace("_", " "), "axis": {"labelAngle": 0}},
        "y": {"field": "y", "type": "ordinal", "title": y.replace("_", " "), "sort": "descending"},
    }
    colours: Spec = {
        "field": "value", "type": "quantitative", "title": unit(data),
        "scale": {"range": ["#eef5fb", "#6aa5dc"], "zero": False, "nice": False},
        "legend": {"gradientLength": 160, "format": ".1f"},
    }  # fmt: skip
    layers: list[Spec] = [
        {
            "mark": {"type": "rect", "stroke": "var(--page)", "strokeWidth": 2, "cursor": "pointer"},
            "encoding": {**encoding, "color": colours, "tooltip": [
                {"field": "panel", "title": "of"}, {"field": "x", "title": x}, {"field": "y", "title": y},
                {"field": "text", "title": unit(data)},
            ]},
        },
        {
            "mark": {"type": "text", "fontSize": 12},
            "encoding": {**encoding, "text": {"field": "label"}, "color": {"value": "#10202f"}},
        },
    ]  # fmt: skip
    panels = list(dict.fromkeys(one["panel"] for one in rows))
    spec: Spec = {
        "$schema": SCHEMA, "data": {"values": rows}, "columns": 3,
        "facet": {"field": "panel", "type": "nominal", "title": None, "sort": panels},
        "spec": {"width": 190, "height": {"step": 44}, "layer": layers},
    }  # fmt: skip
    title = f"{data.table.title}: {unit(data)} by numbers of views"
    return Chart(data.table.stem, title, f"Heat maps of {unit(data)}. {said}.", spec, panel=170)
