"""Which picture a table has: by its axes and unit, so that a table of one's own has one too."""

from dpmix.report.charts.base import Chart, varying
from dpmix.report.charts.curves import axis_of_numbers, curves
from dpmix.report.charts.dots import dots
from dpmix.report.charts.forest import forest
from dpmix.report.charts.gains import distances, gains
from dpmix.report.charts.heat import axes_of_views, heat
from dpmix.report.charts.slopes import has_steps, slopes
from dpmix.report.charts.synthetic_gains import synthetic_distances, synthetic_gains
from dpmix.report.data import Report, TableData
from dpmix.tables.captions import ACCURACY, EPSILON


def picture(data: TableData) -> Chart | None:
    """A table's picture; None for one of fewer than two numbers."""
    if sum(bool(one.cell.values) for one in data.cells) < 2 or not varying(data):
        return None
    if (views := axes_of_views(data)) is not None:
        return heat(data, views)
    if has_steps(data):
        return slopes(data)
    if data.table.unit in (ACCURACY, EPSILON) and (axis := axis_of_numbers(data)) is not None:
        return curves(data, axis)
    return dots(data)


def leading(report: Report) -> TableData | None:
    """The table that the first picture shows: of accuracies along ε, the one with the most numbers."""
    found = [
        data for data in report.tables if data.table.unit == ACCURACY and axis_of_numbers(data) == "ε"
    ]  # fmt: skip
    return max(found, key=lambda data: sum(bool(one.cell.values) for one in data.cells), default=None)


def beside_others(report: Report) -> dict[str, Chart]:
    """Tables of distances beside gains in accuracy, by the stem of the table below which the picture stands."""
    found = ((distances(report), gains(report)), (synthetic_distances(report), synthetic_gains(report)))
    return {data.table.stem: chart for data, chart in found if data is not None and chart is not None}


def pictures(report: Report) -> dict[str, Chart]:
    """All pictures by name: that of each table, `gains`, `synthetic_gains`, and `claims`."""
    found = [*map(picture, report.tables), gains(report), synthetic_gains(report), forest(report.claims)]
    return {chart.name: chart for chart in found if chart is not None}
