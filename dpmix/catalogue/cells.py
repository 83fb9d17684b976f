"""What the catalogue knows of a table, its cells and the interface of its kind, and of targets that are no tables."""

import pkgutil
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
    """One cell of a table and what must be computed for it.

    Attributes:
        row: its row's labels, outermost first.
        column: its column's labels, outermost first.
        artefacts: whose numbers the cell shows, one for each seed; empty for a cell that nothing is computed for.
        end: whether it is a reference (zero-shot or non-private), which the paper's tables do not have.
    """

    row: Labels
    column: Labels
    artefacts: tuple[Artefact, ...]
    end: bool = False


class TableKind(TableSpec):
    """A table in the params, able to list its cells. The kinds of tables in `dpmix.tables.kinds` derive from it.

    Attributes:
        not_covered: why a table of this kind must not be handed out together with a released model, as the end of a
            sentence; empty if it may.
    """

    not_covered: ClassVar[str] = ""

    @abstractmethod
    def expand(self, name: str, catalogue: "Catalogue") -> list[CellSpec]:
        """The cells of this table, row by row.

        Args:
            name: what the params call the table, such as "9".
            catalogue: fills in the defaults of cells' settings and makes experiments of them.

        Raises:
            ParamsError: for names, labels or settings that do not fit.
        """

    def shown(self, catalogue: "Catalogue") -> list[Any]:
        """What else the table's files show, such as its title, as values for JSON; part of its fingerprint."""
        return []


# What the workflow makes beside tables and figures, and the module that knows of it, in a room above this one.
FURTHER_TARGETS = {"claims": "dpmix.claims.target"}


def further(target: str) -> Any:
    """The module of one of `FURTHER_TARGETS`.

    It has two functions of a catalogue: `artefacts` lists what must exist before the target can be made, nothing if the
    scale lacks the target; `shown` gives what else it shows, as `TableKind.shown` does.
    """
    return pkgutil.resolve_name(FURTHER_TARGETS[target])


def made(kind: type[Made], where: str, **values: Any) -> Made:
    """`kind(**values)`, with pydantic's error as one line.

    Args:
        kind: the class of artefact.
        where: the cell or figure in words, for the error message.
        values: the artefact's fields.

    Raises:
        ParamsError: if the values do not make a valid artefact.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        what = f"{place} is not set; give it there" if first["type"] == "missing" else f"{place} {message}".strip()
        raise ParamsError(f"params.yaml: {where}: {what}") from error
