"""Whether synthetic images closer to the real ones gain more: distance of D against what mixing it in gains."""

from collections.abc import Mapping

from dpmix.report.charts.base import SCHEMA, Chart, colour
from dpmix.report.charts.gains import gains_over, points, rows_of_gains
from dpmix.report.data import Report, TableData
from dpmix.tables.captions import DISTANCE

NAME = "synthetic_gains"
_COMPARED = "Train vs Diffusion"
_WITH, _WITHOUT = "DP-Mix_Diff", "DP-Mix_Self"


def synthetic_distances(report: Report) -> TableData | None:
    """The table of the distances of synthetic images from the real ones; None if there is none."""
    found = (one for one in report.tables if one.table.unit == DISTANCE and "Compared" in one.table.column_names)
    return next(found, None)


def synthetic_gains(report: Report) -> Chart | None:
    """A point for each data set, in a panel for each network that measures: distance of D, and accuracy gained by it.

    The gain is that of mixing with D over mixing without, at the smallest ε for which the scale has both.

    Returns:
        None if fewer than two data sets have both numbers.
    """
    data = synthetic_distances(report)
    if data is None:
        return None

    def method(of: Mapping[str, str]) -> str:
        return _WITH if of["Compared"] == _COMPARED else ""

    rows = rows_of_gains(data, gains_over(_WITHOUT, report), method, panel="FID model")
    lines = list(dict.fromkeys(one["line"] for one in rows))
    if len(lines) < 2:
        return None
    x = {"field": "value", "type": "quantitative", "title": "Fréchet distance of D from the training images",
         "scale": {"zero": False, "padding": 16}, "axis": {"tickCount": 4}}  # fmt: skip
    y = {"field": "gain", "type": "quantitative", "title": "accuracy gained by D (points)", "scale": {"padding": 12}}
    ink = colour(_WITH)
    layers = points({"x": x, "y": y}, lines, {"field": "panel", "title": "distance by"}, ink, color=ink)
    panels = list(dict.fromkeys(one["panel"] for one in rows))
    said = "; ".join(f"{one['line']}, {one['panel']}: distance {one['text']}, gain {one['gain']:+.1f}" for one in rows)
    return Chart(
        NAME,
        "Distance of the synthetic images against accuracy gained by mixing them in",
        f"A point for each data set and network that measures. {said}.",
        {
            "$schema": SCHEMA, "data": {"values": rows}, "columns": 2,
            "facet": {"field": "panel", "type": "nominal", "title": None, "sort": panels},
            "spec": {"width": 230, "height": 180, "layer": layers},
            "resolve": {"scale": {"x": "independent"}, "axis": {"x": "independent"}},
        },
        note="Left: D is closer to the private images. Up: mixing it in (DP-Mix_Diff over DP-Mix_Self) gains more, at "
        "the smallest ε.",
    )  # fmt: skip
