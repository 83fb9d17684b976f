"""A table as files: CSV for programs, Markdown and LaTeX to read, and JSON, from which `read` gets it back whole."""

import csv
import io
import math
from pathlib import Path

from dpmix.errors import DataError
from dpmix.files import read_json, write_json, write_text
from dpmix.params.tables import table_order
from dpmix.privacy.accounting import rounded_up
from dpmix.tables.captions import EPSILON
from dpmix.tables.cells import Cell, Table, from_json, to_json
from dpmix.tables.latex import latex
from dpmix.tables.markdown import markdown


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _epsilon(value: float | None) -> str:
    if value is None:
        return ""
    return rounded_up(value, 6) if math.isfinite(value) else "inf"


def _record(cell: Cell, unit: str) -> list[str]:
    paper = cell.paper
    return [
        *cell.row,
        *cell.column,
        _epsilon(cell.center) if unit == EPSILON else _plain(cell.center),
        _plain(cell.sd),
        str(cell.seeds),
        _epsilon(cell.epsilon),
        _plain(paper.mean) if paper else "",
        _plain(paper.sd) if paper else "",
        _plain(cell.difference),
        cell.note,
    ]


def tidy_csv(table: Table) -> str:
    """One line per cell: its labels, then mean, sd, seeds, epsilon, paper_mean, paper_sd, difference and note.

    The column `mean` is called `median` if the cells show medians.
    """
    center = "median" if any(cell.statistic == "median" for cell in table.cells) else "mean"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measured = (center, "sd", "seeds", "epsilon", "paper_mean", "paper_sd", "difference", "note")
    writer.writerow([*table.row_names, *table.column_names, *measured])
    writer.writerows(_record(cell, table.unit) for cell in table.cells)
    return text.getvalue()


def write(table: Table, directory: Path) -> tuple[Path, Path, Path, Path]:
    """Write `<stem>.csv`, `.md`, `.tex` and `.json` in `directory`, each whole or not at all.

    Returns:
        Their paths.
    """
    stem = Path(directory) / table.stem
    csv_path, md_path, tex_path, json_path = (stem.with_suffix(f".{kind}") for kind in ("csv", "md", "tex", "json"))
    write_text(csv_path, tidy_csv(table))
    write_text(md_path, markdown(table))
    write_text(tex_path, latex(table))
    write_json(json_path, to_json(table))
    return csv_path, md_path, tex_path, json_path


def read_all(directory: Path) -> list[Table]:
    """All tables that `write` left in `directory`: the paper's by number, then others by name."""
    return sorted((read(path) for path in directory.glob("table*.json")), key=lambda table: table_order(table.name))


def read(path: Path) -> Table:
    """The table that `write` wrote to `<stem>.json`.

    Raises:
        DataError: if the file does not hold a table.
    """
    try:
        return from_json(read_json(path))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} does not hold a table ({error}); delete it and make the table again") from error
