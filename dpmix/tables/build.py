"""Makes a table of finished runs: reads each cell's numbers from the files of its artefacts."""

from collections.abc import Container, Sequence
from dataclasses import replace

from dpmix.artefacts.base import Artefact
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec
from dpmix.errors import DpmixError, one_line
from dpmix.tables.cells import Cell, Table
from dpmix.tables.kinds.base import Kind
from dpmix.tables.published import OTHERS, PAPERS, published


def build(name: str, catalogue: Catalogue) -> Table:
    """The table that the params call `name`, with numbers read from its runs' files.

    At the scale `paper`, each cell of a table of a paper also has the paper's number.

    Raises:
        DpmixError: if a run that it needs has not been made.
    """
    table = _kind(name, catalogue)
    cells = [table.read(cell, catalogue.scale) for cell in catalogue.cells(name)]
    return _table(name, catalogue, cells, table.notes(name, catalogue))


def build_from(name: str, catalogue: Catalogue, done: Container[str]) -> tuple[Table, dict[str, str]]:
    """The table that the params call `name` as far as its runs are done: a cell shows the seeds that it has.

    Args:
        name: the table's name.
        catalogue: the scale.
        done: the paths of the artefacts that are on disk.

    Returns:
        The table, which is that of `build` once all its runs are done; and the records that cannot be read, each with
        the error. Cells show the others.
    """
    table, cells, whole = _kind(name, catalogue), [], True
    broken: dict[str, str] = {}
    for spec in catalogue.cells(name):
        there = tuple(one for one in spec.artefacts if catalogue.path(one) in done)
        whole = whole and there == spec.artefacts
        if spec.artefacts and not there:
            cells.append(Cell(spec.row, spec.column, end=spec.end))
            continue
        try:
            cells.append(table.read(replace(spec, artefacts=there), catalogue.scale))
        except DpmixError:
            whole = False
            found = _broken(table, catalogue, spec, there)
            broken |= found
            left = tuple(one for one in there if found and catalogue.path(one) not in found)
            cells.append(
                table.read(replace(spec, artefacts=left), catalogue.scale)
                if left
                else Cell(spec.row, spec.column, end=spec.end)
            )
    notes = table.notes(name, catalogue) if whole else ["Not all of its runs are done."]
    return _table(name, catalogue, cells, notes), broken


def _broken(table: Kind, catalogue: Catalogue, spec: CellSpec, there: Sequence[Artefact]) -> dict[str, str]:
    """Which records of a cell cannot be read by themselves, and why."""
    found = {}
    for one in there:
        try:
            table.read(replace(spec, artefacts=(one,)), catalogue.scale)
        except DpmixError as error:
            found[catalogue.path(one)] = one_line(error)
    return found


def _kind(name: str, catalogue: Catalogue) -> Kind:
    table = catalogue.spec.tables[name]
    assert isinstance(table, Kind)
    return table


def _table(name: str, catalogue: Catalogue, cells: Sequence[Cell], notes: Sequence[str]) -> Table:
    table = _kind(name, catalogue)
    layout = table.layout(name)
    if catalogue.scale == "paper" and name in (*PAPERS, *OTHERS):
        cells = [replace(cell, paper=published(name).get(cell.row, cell.column)) for cell in cells]
    return Table(
        name=name,
        title=layout.title,
        caption=layout.caption,
        unit=table.unit,
        row_names=layout.row_names,
        column_names=layout.column_names,
        cells=tuple(cells),
        scale=catalogue.scale,
        decimals=table.decimals,
        notes=(*notes, *layout.notes),
    )
