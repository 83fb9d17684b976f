"""What all kinds of tables have in common: words, the check of a grid, and reading a cell's numbers."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar

from typing_extensions import override

from dpmix.artefacts.base import Artefact
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec, Labels, TableKind
from dpmix.errors import ParamsError
from dpmix.files import read_json
from dpmix.tables.captions import TABLES, Layout
from dpmix.tables.cells import Cell

DEMO = "The demo's miniature: handwritten digits, tiny models, few views; not comparable with the paper."


class Kind(TableKind):
    """A table of some kind: a value of the params that knows its cells, how they are read, and what is said of them.

    A kind is a subclass with `kind: Literal["its-name"]`, the fields that its tables have in the params, and the four
    methods below that are abstract.

    Attributes:
        unit: what the cells are in, one of `dpmix.tables.captions` or any other short noun phrase.
        decimals: how many of a mean's and a standard deviation's are printed.
    """

    unit: ClassVar[str]
    decimals: ClassVar[int] = 1

    @abstractmethod
    def level_names(self) -> tuple[Labels, Labels]:
        """The names of the levels of its rows and of its columns, outermost first, where no layout has others."""

    @abstractmethod
    def cells(self, where: str, catalogue: Catalogue) -> Iterable[CellSpec]:
        """Its cells, row by row, with the artefacts that each needs; `where` stands in messages.

        Raises:
            ParamsError: for names, labels or settings that do not fit.
        """

    @abstractmethod
    def read(self, cell: CellSpec, scale: str) -> Cell:
        """A cell's numbers, from the files that its artefacts left in `results/<scale>`.

        Raises:
            DpmixError: if one of them has not been made, or does not say what is needed.
        """

    def notes(self, name: str, catalogue: Catalogue) -> list[str]:
        """What must be said below the table that the params call `name`, once its runs are there."""
        return [DEMO] if catalogue.scale == "demo" else []

    def layout(self, name: str) -> Layout:
        """The table's words: its own `title` and `caption`, else those of `dpmix.tables.captions.TABLES`.

        Raises:
            ParamsError: for a table that has a title neither here nor there.
        """
        given = TABLES.get(name)
        if given is None:
            if self.title is None:
                raise ParamsError(f"params.yaml: table {name}: a table that is not the paper's needs a title; add one")
            given = Layout(self.title, "", *self.level_names())
        caption = given.caption if self.caption is None else self.caption
        return replace(given, title=self.title or given.title, caption=caption)

    @override
    def expand(self, name: str, catalogue: Catalogue) -> list[CellSpec]:
        layout = self.layout(name)
        cells = list(self.cells(f"table {name}", catalogue))
        places = set()
        for cell in cells:
            sides = (("rows", cell.row, layout.row_names), ("columns", cell.column, layout.column_names))
            for what, labels, names in sides:
                if len(labels) != len(names):
                    raise ParamsError(
                        f"params.yaml: table {name}: its {what} have {len(labels)} levels, not the {len(names)} of "
                        f"table {name} ({', '.join(names) or 'none'}); mend its axes"
                    )
            if (cell.row, cell.column) in places:
                at = place(cell.row, cell.column)
                raise ParamsError(f"params.yaml: table {name}: two cells are labelled {at}; rename one")
            places.add((cell.row, cell.column))
        return cells

    @override
    def shown(self, catalogue: Catalogue) -> list[Any]:
        # Words that stand in the code are the same for everybody who runs it; those of the params are not.
        return [] if self.title is None and self.caption is None else [self.title, self.caption, *self.level_names()]


class Measured(Kind):
    """A kind whose artefacts leave a JSON record each, with one number for the table; "N/A" where there are none."""

    @abstractmethod
    def value(self, record: dict[str, Any]) -> float:
        """The number, in `unit`, of one artefact's record."""

    def epsilon(self, artefact: Artefact, record: dict[str, Any], scale: str) -> float | None:
        """The ε that this artefact executed; None where the table states none."""
        return None

    @override
    def read(self, cell: CellSpec, scale: str) -> Cell:
        if not cell.artefacts:
            return Cell(cell.row, cell.column, note="N/A")
        records = [(artefact, read_json(artefact.path(scale))) for artefact in cell.artefacts]
        values = tuple(self.value(record) for _, record in records)
        spent = [self.epsilon(artefact, record, scale) for artefact, record in records]
        largest = max((epsilon for epsilon in spent if epsilon is not None), default=None)
        return Cell(cell.row, cell.column, values, epsilon=largest, end=cell.end)


def place(row: Labels, column: Labels) -> str:
    """A cell by its labels, for messages."""
    return " / ".join((*row, *column))
