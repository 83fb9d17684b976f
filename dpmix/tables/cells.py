"""The grid of a table: what was measured in each cell, beside what the paper printed there."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from dpmix.params.tables import table_target
from dpmix.tables.statistics import mean, median, sample_sd

Key = tuple[str, ...]


@dataclass(frozen=True)
class PaperValue:
    """One entry of a table in the paper: its centre and standard deviation, None where it prints none, and its text."""

    mean: float | None
    sd: float | None
    text: str


@dataclass(frozen=True)
class Cell:
    """One entry of a table.

    `values` has one number per seed, in the table's unit; it is empty where nothing was run, and `note` then says why.
    `epsilon` is the largest ε that the cell's runs executed: infinite without noise, None for what is no accuracy.
    `statistic` is what the cell shows for its values: the mean, except in Table 11.
    `end` marks the two ends of the privacy ladder, which stand beside the paper's cells and are none.
    """

    row: Key
    column: Key
    values: tuple[float, ...] = ()
    epsilon: float | None = None
    note: str = ""
    paper: PaperValue | None = None
    statistic: Literal["mean", "median"] = "mean"
    end: bool = False

    @property
    def mean(self) -> float | None:
        """The mean over seeds, None without values."""
        return mean(self.values)

    @property
    def center(self) -> float | None:
        """What the cell shows: the mean or, if `statistic` says so, the median over seeds."""
        return median(self.values) if self.statistic == "median" else self.mean

    @property
    def sd(self) -> float | None:
        """The sample standard deviation over seeds (divisor: seeds - 1), None for fewer than two."""
        return sample_sd(self.values)

    @property
    def seeds(self) -> int:
        """How many seeds the cell rests on."""
        return len(self.values)

    @property
    def difference(self) -> float | None:
        """`center` minus the paper's value, None where either is missing."""
        if self.center is None or self.paper is None or self.paper.mean is None:
            return None
        return self.center - self.paper.mean


@dataclass(frozen=True)
class Table:
    """A titled grid of cells; rows and columns appear in the order in which the cells first name them.

    `row_names` and `column_names` name the levels of the cells' keys, outermost first. A table of a single row has
    `row_names=()` and cells with `row=()`; a table of a single column likewise. `unit` is one of those in
    `dpmix.tables.captions`, or any other short noun phrase. `decimals` is for means and standard deviations alike.
    `name` is the table's in the params: a number for the paper's, words joined by hyphens for others.
    Raises ValueError when a key does not fit its names or appears twice.
    """

    name: str
    title: str
    caption: str
    unit: str
    row_names: Key
    column_names: Key
    cells: tuple[Cell, ...]
    scale: str
    decimals: int = 1
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        seen = set()
        for cell in self.cells:
            if len(cell.row) != len(self.row_names) or len(cell.column) != len(self.column_names):
                raise ValueError(f"table {self.name}: {cell.row}, {cell.column} do not fit the names of its levels")
            if (cell.row, cell.column) in seen:
                raise ValueError(f"table {self.name}: two cells at {cell.row}, {cell.column}")
            seen.add((cell.row, cell.column))

    @property
    def heading(self) -> str:
        """What the table is called: `Table 9`, `Table my-clipping`."""
        return f"Table {self.name}"

    @property
    def stem(self) -> str:
        """What its files are called, and its target in the workflow: `table9`, `table-my-clipping`."""
        return table_target(self.name)

    @property
    def rows(self) -> tuple[Key, ...]:
        """Row keys in order."""
        return tuple(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> tuple[Key, ...]:
        """Column keys in order."""
        return tuple(dict.fromkeys(cell.column for cell in self.cells))

    @property
    def grid(self) -> Mapping[tuple[Key, Key], Cell]:
        """The cells by (row, column); a ragged table lacks some."""
        return {(cell.row, cell.column): cell for cell in self.cells}

    @property
    def has_paper(self) -> bool:
        """Whether any cell has a number of the paper beside it."""
        return any(cell.paper is not None and cell.paper.mean is not None for cell in self.cells)


def to_json(table: Table) -> dict[str, Any]:
    """Plain values that hold all of `table`, seed by seed, an infinite ε being the string "inf".

    A table of the paper has its number under `number`, any other its name under `name`.
    """
    values = asdict(table)
    if table.name.isdigit():
        values["number"] = int(values.pop("name"))
    for cell in values["cells"]:
        if cell["epsilon"] == math.inf:
            cell["epsilon"] = "inf"
    return values


def from_json(values: Mapping[str, Any]) -> Table:
    """The inverse of `to_json`, also after a passage through JSON text."""
    cells = tuple(
        Cell(
            **{
                **cell,
                "row": tuple(cell["row"]),
                "column": tuple(cell["column"]),
                "values": tuple(cell["values"]),
                "epsilon": None if cell["epsilon"] is None else float(cell["epsilon"]),
                "paper": None if cell["paper"] is None else PaperValue(**cell["paper"]),
            }
        )
        for cell in values["cells"]
    )
    name = str(values["number"]) if "number" in values else values["name"]
    listed: dict[str, Any] = {one.name: values[one.name] for one in fields(Table) if one.name != "name"}
    keys = {name: tuple(listed[name]) for name in ("row_names", "column_names", "notes")}
    return Table(**{**listed, **keys, "name": name, "cells": cells})
