"""`dpmix status`: how far a scale is, what failed and why, and the command that goes on."""

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dpmix.status.standing import Row, Standing

_SHOWN = 5
_PARAMS = Path("params.yaml")


def status(
    scale: Annotated[str | None, typer.Option(help="Of the params; by default the one that they name.")] = None,
    params: Annotated[Path, typer.Option(help="The params.")] = _PARAMS,
) -> None:
    """Count the runs that are done, running, failed and missing by table, and say what failed and how to go on.

    Run it in the folder in which Snakemake runs, also while it does. Nothing is changed.
    """
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.params.read import read
    from dpmix.status.standing import standing

    catalogue = Catalogue(read(params), scale)
    found = standing(catalogue, params=None if params == _PARAMS else str(params))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    typer.echo("\n".join(_lines(catalogue.scale, found, width)))


def _lines(scale: str, found: "Standing", width: int | None = None) -> list[str]:
    """What is said. Sentences end at the terminal's edge; file names, messages and commands stay whole, to be copied.

    Args:
        scale: its name.
        found: how far it is.
        width: of the terminal; None if there is none.
    """

    def told(*sentences: str) -> list[str]:
        if width is None:
            return [*sentences]
        return [line for one in sentences for line in textwrap.wrap(one, width, break_on_hyphens=False)]

    made = sum(row.shown == "made" for row in found.rows)
    lines = told(
        f"Scale {scale}: {found.together.done:,} of {found.together.count:,} files of data, models and results, "
        f"and {made} of {len(found.rows)} tables and figures."
    )
    lines += ["", *_table([*found.rows, found.prepared, found.together], width), ""]
    lines += told(
        "prepared: data, encoders, D, plans, learning rates; together: with these, each run once",
        "shown: the table's own files are made from these params, outdated (from others), or none",
    )
    if found.failures:
        lines += ["", f"Failed, the last first{_more(len(found.failures))}:"]
    for failure in found.failures[: -_SHOWN - 1 : -1]:
        lines += [f"  {failure.log or failure.outputs[0]}", f"    {failure.line}"]
    lines += ["", *told(_process(found))]
    if found.goes_on is not None:
        lead = "When it has ended" if found.process == "running" else "Go on"
        lines += [*told(*_time(found)), f"{lead}: {found.goes_on}"]
    return lines


def _more(failures: int) -> str:
    return f" ({_SHOWN} of {failures})" if failures > _SHOWN else ""


def _process(found: "Standing") -> str:
    if found.process == "running":
        return "Snakemake is running here."
    if found.process == "locked":
        return "Snakemake runs on another machine, or the last call was killed before it could say so."
    return "Nothing is running here." if found.goes_on is not None else "Nothing is running here, and all is done."


def _time(found: "Standing") -> list[str]:
    from dpmix.tables.text import duration

    if found.seconds_left is None:
        return ["Time left: unknown until some jobs have finished."]
    if not found.seconds_left and not found.unknown:
        return []
    unknown = f"{found.unknown:,} of the missing files, of kinds of which none is finished yet" if found.unknown else ""
    said = f"Time left: about {duration(found.seconds_left / 60)}, by what finished jobs took"
    return [f"{said}; not counted: {unknown}." if unknown else f"{said}."]


def _table(rows: "list[Row]", width: int | None = None) -> list[str]:
    """The rows under a header; in a narrow terminal without the columns that are 0 in all of them."""
    header = ("", "runs", "done", "running", "failed", "missing", "shown")
    cells = [(row.name, row.count, row.done, row.running, row.failed, row.missing, row.shown) for row in rows]
    lines = [header, *(tuple(f"{cell:,}" if isinstance(cell, int) else cell for cell in line) for line in cells)]
    columns, gap = list(zip(*lines, strict=True)), "  "
    if width is not None and sum(_widest(column) + 2 for column in columns) - 2 > width:
        columns, gap = [column for column in columns if set(column[1:]) != {"0"}], " "
    aligned = [
        [text.rjust(_widest(column)) if column[0] in header[1:-1] else text.ljust(_widest(column)) for text in column]
        for column in columns
    ]
    return [gap.join(line).rstrip() for line in zip(*aligned, strict=True)]


def _widest(column: tuple[str, ...]) -> int:
    return max(map(len, column))
