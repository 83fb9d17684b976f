"""The numbers that the paper prints, and those of other papers, from `dpmix/tables/paper/*.csv`, by their labels."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dpmix.errors import ParamsError
from dpmix.params.tables import table_target
from dpmix.tables.captions import TABLES
from dpmix.tables.cells import Key, PaperValue

PAPERS = tuple(str(number) for number in range(1, 14))
"""The names of the tables that the paper has."""

OTHERS = {"modelmix": 1}
"""Tables of other papers by the name that theirs has here, and how many label columns they have.

`modelmix`: CIFAR-10 in Table 2 of Xiao, Wan and Devadas (2022), medians of five runs.
"""

_FOLDER = Path(__file__).parent / "paper"
_VALUES = ("mean", "sd", "text")


@dataclass(frozen=True)
class Published:
    """One table of the paper: the names of its label columns and header lines, and its cells by (row, column).

    `values` is in the order of the page, row by row.
    """

    row_names: Key
    column_names: Key
    values: Mapping[tuple[Key, Key], PaperValue]

    def get(self, row: Key, column: Key) -> PaperValue | None:
        """The cell with these labels; None if the paper has none.

        What follows a comma in a label is ignored, because the paper does not print it: the labels
        `DP-Mix_Diff, K_DIFF = 2` and `DP-Mix_Diff` have the same cell.
        """
        printed = [tuple(label.partition(",")[0] for label in key) for key in (row, column)]
        return self.values.get((printed[0], printed[1]))

    @property
    def rows(self) -> tuple[Key, ...]:
        """Row labels in the paper's order."""
        return tuple(dict.fromkeys(row for row, _ in self.values))

    @property
    def columns(self) -> tuple[Key, ...]:
        """Column labels in the paper's order."""
        return tuple(dict.fromkeys(column for _, column in self.values))


def _value(record: Mapping[str, str]) -> PaperValue:
    mean, sd, text = (record.get(name, "") for name in _VALUES)
    # The paper writes standard deviations without the leading zero.
    printed = text or mean + (f" ({sd.removeprefix('0')})" if sd else "")
    return PaperValue(float(mean) if mean else None, float(sd) if sd else None, printed)


def _read(name: str, levels: int) -> Published:
    with (_FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    names = tuple(name for name in records[0] if name not in _VALUES)
    values: dict[tuple[Key, Key], PaperValue] = {}
    for record in records:
        key = tuple(record[name] for name in names)
        values[key[:levels], key[levels:]] = _value(record)
    return Published(names[:levels], names[levels:], values)


@cache
def published(name: str) -> Published:
    """A table as a paper prints it, by its name in `PAPERS` or `OTHERS`; the times of Table 13 are in minutes.

    Raises:
        ParamsError: for a table that no paper has.
    """
    if name in OTHERS:
        return _read(table_target(name), OTHERS[name])
    if name not in PAPERS:
        raise ParamsError(f"the paper has no table {name}; choose one of {PAPERS[0]} to {PAPERS[-1]}")
    return _read(table_target(name), len(TABLES[name].row_names))


@cache
def published_gradient_sd() -> Mapping[tuple[str, str], float]:
    """The standard deviations that the paper's text gives for Figure 2, by (dataset, method)."""
    values = _read("figure2", 2).values
    return {(row[0], row[1]): value.sd for (row, _), value in values.items() if value.sd is not None}
