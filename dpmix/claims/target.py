"""The workflow's target `claims`: the runs and gradient records that this scale's claims compare."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import GradientRecord
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec
from dpmix.claims.entries import Claim, load
from dpmix.claims.pairs import Contrast, Grid, Place, contrasts
from dpmix.claims.printed import grid as printed_grid
from dpmix.params.scales import Params
from dpmix.params.tables import table_order
from dpmix.tables.cells import Key, PaperValue
from dpmix.tables.kinds.base import Kind
from dpmix.tables.kinds.grid import split_labels
from dpmix.tables.published import PAPERS

METHODS = {
    "Mixed Ghost": "mixed-ghost",
    "Self-Aug": "self-aug",
    "DP-Mix_Self": "dp-mix-self",
    "DP-Mix_Diff": "dp-mix-diff",
    "Pure-DP-Mix_Diff": "pure-dp-mix-diff",
}
"""The names in the params of what the paper calls its methods, which the params may label otherwise."""


@dataclass(frozen=True)
class RunCell:
    """A cell of one of a scale's tables, or of Figure 2, and what must be computed for it."""

    table: str
    cell: CellSpec


def on_runs(catalogue: Catalogue) -> list[tuple[Claim, list[Contrast[RunCell]]]]:
    """Each claim with the cells that it compares at a scale; none, if the scale has none of them.

    Raises:
        ParamsError: for a mistake in `claims.yaml`, in one line.
    """
    params, methods = catalogue.params, catalogue.params.methods
    ours = {label: methods[name].label for label, name in METHODS.items() if name in methods}
    grid = cache(lambda name: _grid(catalogue, name))
    place = Place(catalogue.scale, grid, _tables(params), _known(params), _named(params) | ours)
    return [(claim, contrasts(claim, place)) for claim in load()]


def on_paper(params: Params) -> list[tuple[Claim, list[Contrast[PaperValue]]]]:
    """Each claim with the printed numbers that it compares.

    Raises:
        ParamsError: for a mistake in `claims.yaml`, in one line.
    """
    place = Place("paper", printed_grid, _tables(params), _known(params), _named(params))
    return [(claim, contrasts(claim, place)) for claim in load()]


def artefacts(catalogue: Catalogue) -> list[Artefact]:
    """What must exist before a scale's claims can be judged; nothing, if it has none of their cells."""
    pairs = [pair for _, parts in on_runs(catalogue) for part in parts for pair in part.pairs]
    # Most cells stand in several pairs.
    cells = {
        (side.table, side.cell.row, side.cell.column): side.cell
        for pair in pairs
        for side in (pair.higher, pair.lower, *pair.by)
    }
    found = {catalogue.path(artefact): artefact for cell in cells.values() for artefact in cell.artefacts}
    return [found[path] for path in sorted(found)]


def shown(catalogue: Catalogue) -> list[Any]:
    """What else the verdicts rest on, as values for JSON: the claims, and which cells they compare."""
    told: list[Any] = []
    for claim, parts in on_runs(catalogue):
        told.append(claim.model_dump(mode="json"))
        told += [[part.label, [pair.label for pair in part.pairs]] for part in parts]
    return told


def _grid(catalogue: Catalogue, name: str) -> Grid[RunCell] | None:
    """The measured cells of a table, or of `figure2`; reference rows are left out."""
    if name == "figure2":
        return _gradients(catalogue) if "2" in catalogue.spec.figures else None
    table = catalogue.spec.tables.get(name)
    if table is None:
        return None
    assert isinstance(table, Kind)
    layout = table.layout(name)
    cells = {
        cell.row + cell.column: RunCell(name, cell) for cell in catalogue.cells(name) if cell.artefacts and not cell.end
    }
    return Grid((*layout.row_names, *layout.column_names), cells)


def _gradients(catalogue: Catalogue) -> Grid[RunCell]:
    """Figure 2's records, and those of the same runs under the scale's other seeds."""
    params, cells = catalogue.params, dict[Key, RunCell]()
    for (dataset, method), run in catalogue.figure_experiments("2").items():
        seeds = dict.fromkeys((*catalogue.spec.seeds, run.seed))
        records = tuple(GradientRecord(experiment=run.with_seed(seed)) for seed in seeds)
        key = (params.datasets[dataset].label, params.methods[method].label)
        cells[key] = RunCell("figure2", CellSpec(key[:1], key[1:], records))
    return Grid(("Dataset", "Method"), cells)


def _tables(params: Params) -> list[str]:
    """The names of the paper's tables, and of all tables of the params, in order."""
    return sorted({*PAPERS, *(name for spec in params.scales.values() for name in spec.tables)}, key=table_order)


def _named(params: Params) -> dict[str, str]:
    """The labels of data sets, models and methods by their names."""
    groups = (params.datasets, params.models, params.methods)
    return {name: one.label for group in groups for name, one in group.items()}


def _known(params: Params) -> Callable[[str, str, str], bool]:
    """Whether a label that a table lacks may be left out: one of the paper's or of the params, or a number."""
    named = set(_named(params).values())
    axes = [
        axis
        for spec in params.scales.values()
        for table in spec.tables.values()
        for axis in (*getattr(table, "rows", ()), *getattr(table, "columns", ()))
    ]
    named |= {part for axis in axes for label in axis.values or () for part in split_labels(label)}

    def known(table: str, axis: str, label: str) -> bool:
        printed = printed_grid(table)
        there = printed is not None and axis in printed.axes and label in printed.labels(axis)
        return there or label in named or re.fullmatch(r"(ε = )?[\d.]+", label) is not None

    return known
