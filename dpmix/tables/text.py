"""Cells as text: numbers, durations, and the lines below a table on its seeds and the ε spent."""

import math
import re
from collections.abc import Callable, Iterable, Mapping

from dpmix.privacy.accounting import rounded_up
from dpmix.tables.captions import EPSILON, MINUTES
from dpmix.tables.cells import Cell, Key, Table

MISSING = "–"
# Tables with more columns are cut into parts of about equal width, as the paper cuts its Table 9.
BLOCK = 9
# The lowered part of `K_BASE` and of `DP-Mix_Self`.
SUBSCRIPT = re.compile(r"(?:(?<=\bK)|(?<=Mix))_([A-Za-z]+)")


def duration(minutes: float) -> str:
    """A time, given in minutes, as text: `2 h 12 min`, `3 min 20 s`, `24 s`, `0.4 s`."""
    seconds = minutes * 60
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    whole = round(whole / 60)
    return f"{whole // 60} h" + (f" {whole % 60} min" if whole % 60 else "")


def number(value: float, table: Table) -> str:
    """A value as text, with the table's number of digits: a duration if its unit is minutes, rounded up if it is ε."""
    if table.unit == MINUTES:
        return duration(value)
    if table.unit == EPSILON:
        return rounded_up(value, table.decimals)
    text = f"{value:.{table.decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def spread(sd: float, table: Table) -> str:
    """A standard deviation in the paper's style, without its leading zero: `(.5)`."""
    text = number(sd, table)
    return f"({text.removeprefix('0') if text.startswith('0.') and table.unit != MINUTES else text})"


def ours(cell: Cell | None, table: Table) -> str:
    """What was measured, as `mean (sd)`; for a cell without values its note, or a dash."""
    if cell is None:
        return MISSING
    if cell.center is None:
        return cell.note or MISSING
    return number(cell.center, table) + (f" {spread(cell.sd, table)}" if cell.sd is not None else "")


def marks(table: Table) -> dict[str, str]:
    """A footnote letter for each note of a cell with values. In a cell without values the note itself is printed."""
    noted = dict.fromkeys(cell.note for cell in table.cells if cell.values and cell.note)
    return {note: chr(ord("a") + index) for index, note in enumerate(noted)}


def papers(cell: Cell | None) -> str | None:
    """The paper's cell as printed; None if the paper has none, or if neither the paper nor this run has a number."""
    if cell is None or cell.paper is None or (cell.paper.mean is None and not cell.values):
        return None
    return cell.paper.text


def stub(table: Table) -> str:
    """The label of the row or column in a table that has only one: the unit, capitalised."""
    label = "running time" if table.unit == MINUTES else table.unit
    return label[:1].upper() + label[1:]


def blocks(table: Table) -> list[tuple[Key, ...]]:
    """The columns, cut into as few parts of about equal width as possible, each of at most `BLOCK` columns.

    If there is more than one part, columns that hold only references (zero-shot, non-private) have parts of their own.
    """
    columns = table.columns
    if len(columns) <= BLOCK:
        return [columns]
    inner = {cell.column for cell in table.cells if not cell.end}
    cut = []
    for part in ([c for c in columns if c in inner], [c for c in columns if c not in inner]):
        width = math.ceil(len(part) / math.ceil(len(part) / BLOCK)) if part else 1
        cut += [tuple(part[start : start + width]) for start in range(0, len(part), width)]
    return cut


def heading(column: Key) -> str:
    """The labels of a column on one line; those that are empty, as some of a reference's are, are left out."""
    return ", ".join(label for label in column if label)


def group_starts(keys: Iterable[Key]) -> list[int]:
    """For each row's labels, the outermost level at which they differ from the row before; 0 for the first row."""
    starts: list[int] = []
    before: Key | None = None
    for key in keys:
        if before is None or len(key) == 0:
            starts.append(0)
        else:
            starts.append(next((i for i, (a, b) in enumerate(zip(before, key, strict=True)) if a != b), len(key)))
        before = key
    return starts


def _by_label(table: Table, per_column: Mapping[Key, str]) -> str:
    """A text for each column, joined as briefly as possible.

    That is the text itself if it is the same for all columns; else, if it depends on one level of the column labels,
    `label: text` for each label of that level; else `labels: text` for each column.
    """
    if len(set(per_column.values())) == 1:
        return next(iter(per_column.values()))
    for level in range(len(table.column_names)):
        per_label: dict[str, set[str]] = {}
        for column, text in per_column.items():
            per_label.setdefault(column[level], set()).add(text)
        if all(len(texts) == 1 for texts in per_label.values()):
            return "; ".join(f"{label}: {next(iter(texts))}" for label, texts in per_label.items())
    return "; ".join(f"{', '.join(column)}: {text}" for column, text in per_column.items())


def _per_column(table: Table, describe: Callable[[list[Cell]], str]) -> dict[Key, str]:
    described = {}
    for column in table.columns:
        cells = [cell for cell in table.cells if cell.column == column and cell.values and not cell.end]
        if cells:
            described[column] = describe(cells)
    return described


def _seeds(cells: list[Cell]) -> str:
    low, high = min(cell.seeds for cell in cells), max(cell.seeds for cell in cells)
    return str(low) if low == high else f"{low} to {high}"


def _epsilon(cells: list[Cell]) -> str:
    spent = [cell.epsilon for cell in cells if cell.epsilon is not None]
    return rounded_up(max(spent), 3) if spent else "none"


def footers(table: Table, stacked: bool = False) -> tuple[str, ...]:
    """The lines below a table: what a cell shows, how many seeds it has, the largest ε spent, and the table's notes.

    Args:
        table: the table.
        stacked: whether the paper's values are printed below the measured ones rather than beside them.
    """
    measured = [cell for cell in table.cells if cell.values and not cell.end]
    center = "median" if any(cell.statistic == "median" for cell in table.cells) else "mean"
    lines = [f"Cells: {center} (sample standard deviation over seeds)."]
    if table.has_paper:
        where = "; below it, the paper" if stacked else " / the paper"
        lines = [f"Cells: this run, {center} (sample standard deviation over seeds){where}, as printed."]
    if table.unit == EPSILON:
        lines, measured = [], []  # computed: its notes say how
    if measured:
        lines.append(f"Seeds: {_by_label(table, _per_column(table, _seeds))}.")
    if any(cell.epsilon is not None for cell in measured):
        lines.append(f"Largest ε executed: {_by_label(table, _per_column(table, _epsilon))}.")
    lines += [f"[{mark}] {note}." for note, mark in marks(table).items()]
    return (*lines, *table.notes)
