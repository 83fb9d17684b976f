"""From finished runs to a table: each cell's numbers, read from the files that its artefacts left."""

from dataclasses import replace

from dpmix.catalogue.catalogue import Catalogue
from dpmix.tables.cells import Table
from dpmix.tables.kinds.base import Kind
from dpmix.tables.published import PAPERS, published


def build(name: str, catalogue: Catalogue) -> Table:
    """The table that the params call `name`, every value read from its runs.

    Beside the cells of the paper's own grid stand the paper's numbers.

    Raises:
        DpmixError: if a run that it needs has not been made.
    """
    table = catalogue.spec.tables[name]
    assert isinstance(table, Kind)
    layout = table.layout(name)
    cells = [table.read(cell, catalogue.scale) for cell in catalogue.cells(name)]
    if catalogue.scale == "paper" and name in PAPERS:
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
        notes=(*table.notes(name, catalogue), *layout.notes),
    )
