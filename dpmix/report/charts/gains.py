"""Whether views that are closer to the test images make better classifiers: distance of the views against accuracy."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dpmix.report.charts.base import SCHEMA, Chart, Spec, labels, method_scales, row, shown
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

    def method(of: Mapping[str, str]) -> str:
        return of["Method"] if of["Split"] == "Test" else ""

    rows = [{**one, "name": shown(one["method"])} for one in rows_of_gains(data, gains_over(_BASE, report), method)]
    if len({one["name"] for one in rows}) < 2:
        return None
    lines = list(dict.fromkeys(one["line"] for one in rows))
    colours, _ = method_scales(one["method"] for one in rows)
    x = {"field": "value", "type": "quantitative", "title": "Fréchet distance of the views from the test images",
         "scale": {"zero": False, "padding": 12}, "axis": {"tickCount": 8}}  # fmt: skip
    y = {"field": "gain", "type": "quantitative", "title": f"accuracy over {_BASE} (points)", "scale": {"padding": 12}}
    ink = {"field": "name", "type": "nominal", "title": None, "scale": colours}
    layers = points({"x": x, "y": y, "color": ink}, lines, {"field": "name", "title": "method"})
    said = "; ".join(f"{one['line']}, {one['name']}: distance {one['text']}, gain {one['gain']:+.1f}" for one in rows)
    spec = {"$schema": SCHEMA, "data": {"values": rows}, "width": 460, "height": 260, "layer": layers}
    title = f"Distance of the views against accuracy gained over {_BASE}"
    note = "Closer views need not make better classifiers: left is closer, up is more accurate at the smallest ε."
    return Chart(NAME, title, f"A point for each data set and method. {said}.", spec, note=note)


def rows_of_gains(
    data: TableData,
    accuracy: Mapping[tuple[str, str], tuple[float, str]],
    method: Callable[[Mapping[str, str]], str],
    panel: str = "",
) -> list[dict[str, Any]]:
    """A row for each measured distance beside which there is a gain in accuracy.

    Args:
        data: the table of distances.
        accuracy: of `gains_over`.
        method: whose gain stands beside a cell, by the cell's labels; no method's for an empty text.
        panel: the axis that has a panel for each of its labels, if there is one.
    """
    rows = []
    for place, one in enumerate(data.cells):
        of = labels(data, one)
        key = (of.get("Dataset", ""), method(of))
        if one.cell.values and key in accuracy:
            gain, words = accuracy[key]
            more = {"panel": of[panel]} if panel else {}
            found = {"gain": round(gain, 4), "line": key[0], "method": key[1], "of": words}
            rows.append({**row(data, place), **found, **more})
    return rows


def points(encoding: Spec, lines: Sequence[str], by: Spec, ink: str = "var(--soft)", **mark: str) -> list[Spec]:
    """A point for each of such rows, its shape by data set, and a line where nothing is gained.

    Args:
        encoding: both axes, and a colour if it tells something.
        lines: the data sets.
        by: the field that is told between data set and distance.
        ink: the colour of shapes in the legend.
        mark: further properties of the points.
    """
    told = [{"field": "line", "title": "data set"}, by, {"field": "text", "title": "distance"},
            {"field": "gain", "title": "gain", "format": "+.1f"}, {"field": "of", "title": "gain of"}]  # fmt: skip
    shape = {
        "field": "line", "type": "nominal", "title": None, "scale": {"domain": list(lines)},
        "legend": {"symbolFillColor": ink, "symbolStrokeColor": ink},
    }  # fmt: skip
    return [
        {"mark": {"type": "rule", "color": "var(--soft)", "strokeDash": [3, 3]}, "encoding": {"y": {"datum": 0}}},
        {
            "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1, **mark, "cursor": "pointer"},
            "encoding": {**encoding, "tooltip": told, "shape": shape},
        },
    ]


def gains_over(base: str, report: Report) -> dict[tuple[str, str], tuple[float, str]]:
    """By data set and method: the accuracy over that of the method `base` at the smallest ε, and what it is of.

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
            lower = methods.get(base)
            for method, one in methods.items():
                key = (labels(data, one)["Dataset"], method)
                if lower is not None and (key not in found or epsilon < found[key][0]):
                    gain = (mean(one.cell.values) or 0.0) - (mean(lower.cell.values) or 0.0)
                    found[key] = epsilon, gain, f"{data.table.heading}: {', '.join(filter(None, group))}"
    return {key: (gain, words) for key, (_, gain, words) in found.items()}
