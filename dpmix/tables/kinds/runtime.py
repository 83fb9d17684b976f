"""Wall-clock times of runs, as in the paper's Table 13."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from dpmix.catalogue.catalogue import Catalogue
from dpmix.tables.captions import MINUTES
from dpmix.tables.kinds.base import read_part
from dpmix.tables.kinds.grid import GridTable


class RuntimeTable(GridTable):
    """Wall-clock time of training in minutes: one cell for each row and column, averaged over the seeds."""

    unit: ClassVar[str] = MINUTES
    not_covered: ClassVar[str] = "whose times depend on the secret samples"

    kind: Annotated[Literal["runtime"], Field(description="Wall-clock time of a run in minutes")]

    @override
    def value(self, record: dict[str, Any]) -> float:
        return float(record["times"]["seconds"]) / 60

    @override
    def notes(self, name: str, catalogue: Catalogue) -> list[str]:
        used = {
            read_part(artefact.path(catalogue.scale), lambda record: str(record["times"]["hardware"]))
            for cell in catalogue.cells(name)
            for artefact in cell.artefacts
        }
        measured = (
            f"Measured on {' and '.join(sorted(used))}; heads share the time of the views that they have in common."
        )
        return [*super().notes(name, catalogue), measured]
