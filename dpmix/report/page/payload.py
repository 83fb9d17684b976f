"""What the page's script knows: cells with what they open, runs once each, pictures and texts to copy, as JSON.

Texts and numbers that many runs share, such as versions and digests of inputs, stand once and are referred to by place.
"""

import json
import math
import shlex
from collections.abc import Hashable, Mapping
from typing import Any

from dpmix.privacy.accounting import rounded_up
from dpmix.report.charts.base import Chart
from dpmix.report.charts.render import whole
from dpmix.report.data import CellData, Report, TableData
from dpmix.report.differences import Difference
from dpmix.report.privacy_words import privacy_words
from dpmix.report.runs import Run
from dpmix.tables.captions import EPSILON, MINUTES
from dpmix.tables.latex import latex
from dpmix.tables.markdown import markdown
from dpmix.tables.render import tidy_csv
from dpmix.tables.text import ours

# What is said of a cell beside other results.
_VERDICTS = {
    "within": "within two standard deviations", "outside": "further apart than two standard deviations",
    "alone": "on one side only", "single": "one value each", "time": "times compare on like hardware only",
    "not run": "not run",
}  # fmt: skip


class _Shared:
    """Values that stand once; `place` says where."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[Hashable, int] = {}

    def place(self, value: Any) -> int:
        """The place of a value, which is added if it is not there yet."""
        key = value if isinstance(value, str | tuple) else json.dumps(value, sort_keys=True)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def payload(report: Report, charts: Mapping[str, Chart]) -> dict[str, Any]:
    """All of it as values for JSON; infinite numbers are the string "inf", and what is not known is left out."""
    shared = {name: _Shared() for name in ("hardware", "execution", "versions", "inputs", "rates", "privacy")}
    places = {path: place for place, path in enumerate(report.runs)}
    return {
        "against": report.against,
        "units": {"minutes": MINUTES, "epsilon": EPSILON},
        "tables": {data.table.stem: _table(data, report.command, places, shared["privacy"]) for data in report.tables},
        "runs": [_run(run, shared) for run in report.runs.values()],
        "charts": {
            name: {"spec": whole(chart), "panel": chart.panel, "margin": chart.margin, "filtered": chart.filtered}
            for name, chart in charts.items()
        },
        "shared": {name: one.values for name, one in shared.items()},
    }


def make_again(command: str, stem: str, one: CellData) -> str:
    """What to type to make a cell alone: the runs that it lacks; or, where it lacks none, all of them again.

    Snakemake makes no file that exists, so records are taken away first.

    Args:
        command: what a command for these results begins with, up to its targets.
        stem: the table's target, which is made where the cell's runs are not known.
        one: the cell.
    """
    if not one.runs:
        return f"{command} {stem}"
    lacking = [run for run in one.runs if run.state != "done"]
    paths = [run.path for run in lacking or one.runs]
    there = [run.path for run in lacking or one.runs if run.state == "done" or run.log == run.path]
    return f"{f'rm {shlex.join(there)} && ' if there else ''}{command} {shlex.join(paths)}"


def script(values: Any) -> str:
    """JSON that may stand inside a `<script>` element."""
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plain(value: float | None) -> float | str | None:
    if value is None or math.isnan(value):
        return None
    return float(f"{value:.8g}") if math.isfinite(value) else "inf"


def _spent(value: float) -> float | str:
    """ε as it is shown, rounded up: the words on privacy have the same digits."""
    return float(rounded_up(value, 4)) if math.isfinite(value) else "inf"


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", {}, [], ())}


def _table(data: TableData, command: str, places: Mapping[str, int], privacy: _Shared) -> dict[str, Any]:
    table = data.table
    return {
        "heading": f"{table.heading}: {table.title}",
        "unit": table.unit,
        "axes": [*table.row_names, *table.column_names],
        "cells": [
            {**_cell(one, data, places, privacy), "again": _words(make_again(command, table.stem, one), places)}
            for one in data.cells
        ],
        "copy": {"CSV": tidy_csv(table), "Markdown": markdown(table), "LaTeX": latex(table)},
    }


def _words(command: str, places: Mapping[str, int]) -> list[str | int]:
    """A command's words, with the places of runs for their paths, most of which a cell's command names twice."""
    return [places.get(word, word) for word in command.split(" ")]


def _cell(one: CellData, data: TableData, places: Mapping[str, int], privacy: _Shared) -> dict[str, Any]:
    cell = one.cell
    words = privacy_words(one)
    return _known({
        "at": [*cell.row, *cell.column],
        "text": ours(cell, data.table),
        "values": [_plain(value) for value in cell.values],
        "statistic": cell.statistic if cell.statistic != "mean" else None,
        "center": _plain(cell.center),
        "interval": [_plain(one.interval.low), _plain(one.interval.high)] if one.interval else None,
        "note": cell.note if cell.values else "",
        "end": cell.end or None,
        "facets": {name: value for name, value in vars(one.facets).items() if value},
        "runs": [places[run.path] for run in one.runs],
        "above": _difference(one.above),
        "paper": cell.paper.text if cell.paper else None,
        "toPaper": _difference(one.to_paper),
        "privacy": privacy.place(words) if words else None,
        "other": {"text": one.other.reference_text, "verdict": _VERDICTS[one.other.verdict]} if one.other else None,
    })  # fmt: skip


def _difference(found: Difference | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return _known({
        "label": found.label, "estimate": _plain(found.estimate), "low": _plain(found.low), "high": _plain(found.high),
        "seeds": found.seeds,
    })  # fmt: skip


def _run(run: Run, shared: Mapping[str, _Shared]) -> dict[str, Any]:
    rate = _known(vars(run.rate)) if run.rate else None
    return _known({
        "path": run.path,
        "state": run.state if run.state != "done" else None,
        "why": run.why,
        "log": run.log,
        "seed": run.seed,
        "epsilon": {name: _spent(value) for name, value in run.epsilon.items()},
        "rate": shared["rates"].place(rate) if rate else None,
        "views": list(run.views) if run.views else None,
        "batch": run.batch,
        "epochs": run.epochs,
        "steps": list(run.steps) if run.steps else None,
        "clipped": _plain(run.clipped),
        "seconds": run.seconds,
        "finished": run.finished,
        "hardware": shared["hardware"].place(run.hardware) if run.hardware else None,
        "execution": shared["execution"].place(dict(run.execution)) if run.execution else None,
        "versions": shared["versions"].place(dict(run.versions)) if run.versions else None,
        "inputs": [shared["inputs"].place(each) for each in run.inputs.items()],
    })  # fmt: skip
