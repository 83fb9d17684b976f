"""Results of an implementation outside this package, as in the paper's Table 11."""

import importlib.util
import itertools
import re
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
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

_MODULE_NAME = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"


def _module_name(name: str) -> str:
    if not re.fullmatch(_MODULE_NAME, name):
        raise ValueError(f"should be the name of a Python module, such as jax_privacy, not {name!r}")
    return name


# For editors the pattern stands in the schema; here it is checked by a function, whose message says what is meant.
ModuleName = Annotated[str, AfterValidator(_module_name), Field(json_schema_extra={"pattern": _MODULE_NAME})]


class ExternalTable(Kind):
    """Results of an implementation outside this package (Table 11), none of which are computed here.

    Every cell says "not run", or "not installed" if `implementation`, a Python module, is not installed.
    """

    unit: ClassVar[str] = ACCURACY

    kind: Annotated[Literal["external"], Field(description="What an implementation outside this package would show")]
    implementation: Annotated[
        ModuleName, Field(description="Its Python package, such as `jax_privacy`, or a module of one")
    ]
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
        note = "not run" if _installed(self.implementation) else "not installed"
        return Cell(cell.row, cell.column, note=note, statistic="median")


def _installed(module: str) -> bool:
    """Whether a module, such as `jax_privacy` or `jax_privacy.clipping`, can be found."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # what should hold it is missing or no package; it is there but has no spec
        return False
