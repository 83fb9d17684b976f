"""Tables of test accuracy below which rows are compared, seed by seed."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from typing_extensions import override

from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec
from dpmix.errors import ParamsError, known
from dpmix.params.declared import Declared, LabelKey, Some
from dpmix.tables.captions import ACCURACY
from dpmix.tables.kinds.base import percent
from dpmix.tables.kinds.grid import GridTable, joined_labels


class ComparedTable(GridTable):
    """A grid of experiments with their test accuracy in per cent, and sentences on the differences of its rows."""

    unit: ClassVar[str] = ACCURACY

    compare: Annotated[
        Mapping[LabelKey, Some[LabelKey]],
        Field(description="Rows by label, each with the rows that it is compared with below the table"),
        Declared(determines=False),
    ] = {}  # pydantic copies a default

    @override
    def cells(self, where: str, catalogue: Catalogue) -> Iterable[CellSpec]:
        cells = list(super().cells(where, catalogue))
        rows = dict.fromkeys(joined_labels(cell.row) for cell in cells)
        for label, others in self.compare.items():
            for one in (label, *others):
                known(one, rows, "row", f"compare of {where}")
            if label in others:
                raise ParamsError(f"params.yaml: compare of {where}: {label} is compared with itself; name another row")
        return cells

    @override
    def value(self, record: dict[str, Any]) -> float:
        return percent(record["accuracy"])

    @override
    def shown(self, catalogue: Catalogue) -> list[Any]:
        return [*super().shown(catalogue), *([self.compare] if self.compare else [])]
