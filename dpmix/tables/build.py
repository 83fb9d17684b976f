"""Makes a table of finished runs: reads each cell's numbers from the files of its artefacts."""

from dataclasses import replace

from dpmix.catalogue.catalogue import Catalogue
from dpmix.tables.cells import Table
from dpmix.tables.kinds.base import Kind
from dpmix.tables.published import OTHERS, PAPERS, published


def build(name: str, catalogue: Catalogue) -> Table:
    """The table that the params call `name`, with numbers read from its runs' files.

    At the scale `paper`, each cell of a table of a paper also has the paper's number.

    Raises:
        DpmixError: if a run that it needs has not been made.
    """
    table = catalogue.spec.tables[name]
    assert isinstance(table, Kind)
    layout = table.layout(name)
    cells = [table.read(cell, catalogue.scale) for cell in catalogue.cells(name)]
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
        notes=(*table.notes(name, catalogue), *layout.notes),
    )
