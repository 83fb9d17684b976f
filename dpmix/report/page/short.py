"""The first screen's two sentences: some accuracies with and without privacy, and the effect of mixing."""

from dpmix.claims.render import summary
from dpmix.report.charts.base import labels, varying
from dpmix.report.charts.choose import leading
from dpmix.report.charts.curves import axis_of_numbers, number
from dpmix.report.data import Report
from dpmix.tables.text import number as printed

_CLAIM = "self-mixing"


def in_short(report: Report) -> tuple[str, ...]:
    """The leading table's means at its smallest ε, for the first of its data sets and models; the paper's main claim.

    Returns:
        Sentences of plain text that do not break at `=` and `%`; those of which nothing is measured are left out.
    """
    said = filter(None, (_accuracies(report), _claim(report)))
    return tuple(line.replace(" = ", "\u00a0=\u00a0").replace(" %", "\u00a0%") for line in said)


def _accuracies(report: Report) -> str:
    data = leading(report)
    axis = axis_of_numbers(data) if data is not None else None
    if data is None or axis is None or "Method" not in varying(data):
        return ""
    measured = [(labels(data, one), one.cell) for one in data.cells if one.cell.values]
    numbers = [(value, of) for of, cell in measured if not cell.end and (value := number(of[axis])) is not None]
    least, first = min(numbers, key=lambda one: one[0])
    where = {name: label for name, label in first.items() if name not in (axis, "Method")}
    said: dict[str, str] = {}
    for of, cell in measured:
        here = all(of[name] == label for name, label in where.items()) and number(of[axis]) == least
        if here and cell.center is not None:
            said[of["Method"]] = f"{of['Method']} {printed(cell.center, data.table)} %"
    place = ", ".join(filter(None, where.values()))
    return f"Accuracy at {axis} = {least:g} on {place}: {', '.join(said.values())} ({data.table.heading})."


def _claim(report: Report) -> str:
    claim = next((one for one in report.claims if one["id"] == _CLAIM), None)
    if claim is None or not claim["runs"]["parts"]:
        return ""
    said = summary(claim, "runs")
    if claim["unit"] == "points":
        said = said.replace(" (", " points (95 %: ", 1)
    return f"“{claim['claim'].rstrip('.')}”: {claim['runs']['verdict']}, {said}."
