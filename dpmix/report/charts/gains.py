"""Whether views that are closer to the test images make better classifiers: distance of the views against accuracy."""

from typing import Any

from dpmix.report.charts.base import SCHEMA, Chart, labels, method_scales, row, shown
from dpmix.report.charts.curves import number
from dpmix.report.data import CellData, Report, TableData
from dpmix.tables.captions import ACCURACY, DISTANCE
from dpmix.tables.statistics import mean

NAME = "gains"
_BASE = "Self-Aug"
_METHODS = ("Method", "Augmentation")


def distances(report: Report) -> TableData | None:
    """The table of the distances of methods' views from the test images; None if there is none."""
    wanted = {"Method", "Split"}
    found = (one for one in report.tables if one.table.unit == DISTANCE and wanted <= set(one.table.column_names))
    return next(found, None)


def gains(report: Report) -> Chart | None:
    """A point for each data set and method: the Fréchet distance of its views, and what it gains over Self-Aug.

    The gain is the difference in accuracy at the smallest ε for which the scale has both.

    Returns:
        None if fewer than two methods have both numbers.
    """
    data = distances(report)
    if data is None:
        return None
    accuracy = _gains(report)
    rows: list[dict[str, Any]] = []
    for place, one in enumerate(data.cells):
        of = labels(data, one)
        key = (of.get("Dataset", ""), of["Method"])
        if of["Split"] == "Test" and one.cell.values and key in accuracy:
            gain, words = accuracy[key]
            more = {"gain": round(gain, 4), "line": key[0], "name": shown(key[1]), "method": key[1], "of": words}
            rows.append({**row(data, place), **more})
    if len({one["name"] for one in rows}) < 2:
        return None
    lines = list(dict.fromkeys(one["line"] for one in rows))
    colours, _ = method_scales(one["method"] for one in rows)
    x = {"field": "value", "type": "quantitative", "title": "Fréchet distance of the views from the test images",
         "scale": {"zero": False, "padding": 12}}  # fmt: skip
    y = {"field": "gain", "type": "quantitative", "title": f"accuracy over {_BASE} (points)"}
    told = [{"field": "line", "title": "data set"}, {"field": "name", "title": "method"},
            {"field": "text", "title": "distance"}, {"field": "gain", "title": "gain", "format": "+.1f"},
            {"field": "of", "title": "gain of"}]  # fmt: skip
    ink = {"field": "name", "type": "nominal", "title": None, "scale": colours}
    layers: list[dict[str, Any]] = [
        {"mark": {"type": "rule", "color": "var(--soft)", "strokeDash": [3, 3]}, "encoding": {"y": {"datum": 0}}},
        {
            "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1, "cursor": "pointer"},
            "encoding": {
                "x": x, "y": y, "color": ink, "tooltip": told,
                "shape": {
                    "field": "line", "type": "nominal", "title": None, "scale": {"domain": lines},
                    "legend": {"symbolFillColor": "var(--soft)", "symbolStrokeColor": "var(--soft)"},
                },
            },
        },
    ]  # fmt: skip
    said = "; ".join(f"{one['line']}, {one['name']}: distance {one['text']}, gain {one['gain']:+.1f}" for one in rows)
    spec = {"$schema": SCHEMA, "data": {"values": rows}, "width": 460, "height": 260, "layer": layers}
    title = f"Distance of the views against accuracy gained over {_BASE}"
    return Chart(NAME, title, f"A point for each data set and method. {said}.", spec)


def _gains(report: Report) -> dict[tuple[str, str], tuple[float, str]]:
    """By data set and method: the accuracy over Self-Aug at the smallest ε, and what it is of.

    Of tables of methods only those with an axis of models count: the others are of networks from scratch.
    """
    found: dict[tuple[str, str], tuple[float, float, str]] = {}
    for data in report.tables:
        names = (*data.table.row_names, *data.table.column_names)
        axis = next((name for name in _METHODS if name in names), None)
        heads = "Model" in names or axis != "Method"
        if data.table.unit != ACCURACY or axis is None or "Dataset" not in names or not heads:
            continue
        groups: dict[tuple[str, ...], dict[str, CellData]] = {}
        for one in data.cells:
            of = labels(data, one)
            if one.cell.values and not one.cell.end:
                groups.setdefault(tuple(of[name] for name in of if name != axis), {})[of[axis]] = one
        for group, methods in groups.items():
            epsilon = next((value for label in group if "ε" in label and (value := number(label)) is not None), 0.0)
            base = methods.get(_BASE)
            for method, one in methods.items():
                key = (labels(data, one)["Dataset"], method)
                if base is not None and (key not in found or epsilon < found[key][0]):
                    gain = (mean(one.cell.values) or 0.0) - (mean(base.cell.values) or 0.0)
                    found[key] = epsilon, gain, f"{data.table.heading}: {', '.join(filter(None, group))}"
    return {key: (gain, words) for key, (_, gain, words) in found.items()}
