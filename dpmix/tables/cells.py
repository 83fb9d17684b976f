"""A table as data: the values measured for each cell, and the paper's value of the same cell."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from dpmix.params.tables import table_target
from dpmix.tables.statistics import mean, median, sample_sd

Key = tuple[str, ...]


@dataclass(frozen=True)
class PaperValue:
    """A cell as the paper prints it: its mean (Table 11: median) and standard deviation, None if absent; its text."""

    mean: float | None
    sd: float | None
    text: str


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        row: its row's labels, outermost first.
        column: its column's labels, outermost first.
        values: one number per seed, in the table's unit; empty if nothing was run.
        epsilon: the largest ε that the cell's runs spent: infinite without noise, None if the table states no ε.
        note: why there are no values; or, with values, a remark that is printed as a footnote.
        paper: what the paper prints for this cell, if anything.
        statistic: what is printed for the values: their mean, or in Table 11 their median.
        end: whether the cell is a reference (zero-shot or non-private). The paper's tables have no such cells,
            and the lines below a table on seeds and ε leave them out.
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
    """A titled grid of cells; rows and columns are in the order in which the cells first name them.

    Attributes:
        name: the table's name in the params: a number for the paper's, words joined by underscores for others.
        title: above the table.
        caption: below the title.
        unit: of the cells, one of `dpmix.tables.captions` or any other short noun phrase.
        row_names: the name of each label column, outermost first; `()` for a table of one row, whose cells have the row
            `()`.
        column_names: the name of each header line, outermost first; `()` for a table of one column.
        cells: in any order; a table may lack some.
        scale: of the params.
        decimals: digits after the point of means and standard deviations.
        notes: sentences below the table.

    Raises:
        ValueError: if a cell has more or fewer labels than there are names, or two cells have the same labels.
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
        """The table's name in a heading: `Table 9`, `Table my_clipping`."""
        return f"Table {self.name}"

    @property
    def stem(self) -> str:
        """The name of its files without suffix, and of its target in the workflow: `table9`, `table_my_clipping`."""
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
        """The cells by (row, column). Not every combination need have one."""
        return {(cell.row, cell.column): cell for cell in self.cells}

    @property
    def has_paper(self) -> bool:
        """Whether any cell has a number of the paper beside it."""
        return any(cell.paper is not None and cell.paper.mean is not None for cell in self.cells)


def to_json(table: Table) -> dict[str, Any]:
    """All of a table as values for JSON; an infinite ε is the string "inf".

    A table of the paper has its number under `number`, any other table its name under `name`.
    """
    values = asdict(table)
    if table.name.isdigit():
        values["number"] = int(values.pop("name"))
    for cell in values["cells"]:
        if cell["epsilon"] == math.inf:
            cell["epsilon"] = "inf"
    return values


def from_json(values: Mapping[str, Any]) -> Table:
    """The table that `to_json` gave `values` for, also if they were written as JSON and read again."""
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
