"""A table as the catalogue sees it: its cells, and the interface of its kind."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import ValidationError

from dpmix.artefacts.base import Artefact
from dpmix.errors import ParamsError
from dpmix.params.tables import TableSpec

if TYPE_CHECKING:
    from dpmix.catalogue.catalogue import Catalogue


Labels = tuple[str, ...]

Made = TypeVar("Made", bound=Artefact)


@dataclass(frozen=True)
class CellSpec:
    """One cell of a table: where it stands and what must be computed for it (nothing for an external result).

    `end` marks the two ends of a ladder, which the paper's tables do not have.
    """

    row: Labels
    column: Labels
    artefacts: tuple[Artefact, ...]
    end: bool = False


class TableKind(TableSpec):
    """What the catalogue asks of a table: the cells that it comes to. `dpmix.tables.kinds` has the kinds.

    Attributes:
        not_covered: why a model's ε does not cover what such a table shows beside the model; empty where it does.
    """

    not_covered: ClassVar[str] = ""

    @abstractmethod
    def expand(self, name: str, catalogue: "Catalogue") -> list[CellSpec]:
        """The cells of this table, which the params call `name`, row by row; `catalogue` resolves their settings.

        Raises:
            ParamsError: for names, labels or settings that do not fit.
        """

    def shown(self, catalogue: "Catalogue") -> list[Any]:
        """What the table shows beside labels and results, as values for JSON; another value is another table."""
        return []


def made(kind: type[Made], where: str, **values: Any) -> Made:
    """An artefact of these values; one that cannot be is one line about `where`."""
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        what = f"{place} is not set; give it there" if first["type"] == "missing" else f"{place} {message}".strip()
        raise ParamsError(f"params.yaml: {where}: {what}") from error
