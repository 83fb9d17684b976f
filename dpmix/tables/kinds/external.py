"""Results of an implementation outside this package, as in the paper's Table 11."""

import importlib.util
import itertools
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec, Labels
from dpmix.params.declared import Declared
from dpmix.params.settings import Settings
from dpmix.params.tables import Axis
from dpmix.tables.captions import ACCURACY
from dpmix.tables.cells import Cell
from dpmix.tables.kinds.base import Kind
from dpmix.tables.kinds.grid import axis_names, points


class ExternalTable(Kind):
    """Results of an implementation outside this package (Table 11), none of which are computed here.

    Every cell says "not run", or "not installed" if `implementation`, a Python module, is not installed.
    """

    unit: ClassVar[str] = ACCURACY

    kind: Annotated[Literal["external"], Field(description="What an implementation outside this package would show")]
    implementation: Annotated[str, Field(description="Its Python package, such as `jax_privacy`")]
    rows: Annotated[tuple[Axis, ...], Field(description="Axes that span the rows, outermost first")] = ()
    columns: Annotated[tuple[Axis, ...], Field(description="Axes that span the columns, outermost first")] = ()
    fixed: Annotated[Settings, Field(description="What is said of all cells"), Declared(determines=False)] = Settings()

    @override
    def level_names(self) -> tuple[Labels, Labels]:
        return axis_names(self.rows), axis_names(self.columns)

    @override
    def cells(self, where: str, catalogue: Catalogue) -> Iterable[CellSpec]:
        rows, columns = (points(where, side, catalogue.params) for side in (self.rows, self.columns))
        return [CellSpec(row, column, ()) for (row, _), (column, _) in itertools.product(rows, columns)]

    @override
    def read(self, cell: CellSpec, scale: str) -> Cell:
        installed = importlib.util.find_spec(self.implementation) is not None
        return Cell(cell.row, cell.column, note="not run" if installed else "not installed", statistic="median")
