"""What all kinds of tables share: title and caption, checks of the labels, and reading a cell's numbers."""

import functools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from typing_extensions import override

from dpmix.artefacts.base import Artefact
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec, Labels, TableKind
from dpmix.errors import DataError, ParamsError, one_line
from dpmix.seals import read_record
from dpmix.tables.captions import TABLES, Layout
from dpmix.tables.cells import Cell

DEMO = "The demo's miniature: handwritten digits, tiny models, few views; not comparable with the paper."


class Kind(TableKind):
    """A table, as the params give it: it lists its cells, reads their numbers, and adds notes.

    A kind of table is a subclass with `kind: Literal["its-name"]`, the fields that its tables have in the params, and
    the three methods below that are abstract.

    Attributes:
        unit: the unit of the cells, one of `dpmix.tables.captions` or any other short noun phrase.
        decimals: digits after the point of means and standard deviations.
    """

    unit: ClassVar[str]
    decimals: ClassVar[int] = 1

    @abstractmethod
    def level_names(self) -> tuple[Labels, Labels]:
        """The names of the label columns on the left, and of the header lines on top, outermost first.

        They are used for tables that have no layout in `dpmix.tables.captions`.
        """

    @abstractmethod
    def cells(self, where: str, catalogue: Catalogue) -> Iterable[CellSpec]:
        """Its cells, row by row, with the artefacts that each needs.

        Args:
            where: the table, for messages.
            catalogue: makes experiments of settings.

        Raises:
            ParamsError: for names, labels or settings that do not fit.
        """

    @abstractmethod
    def read(self, cell: CellSpec, scale: str) -> Cell:
        """A cell with its numbers, read from the files of its artefacts.

        Args:
            cell: one of `cells`.
            scale: the name of the scale, below whose results the files lie.

        Raises:
            DpmixError: if a file is missing or lacks the number.
        """

    def notes(self, name: str, catalogue: Catalogue) -> list[str]:
        """Sentences below the table that the params call `name`; they may depend on the results of its runs."""
        return [DEMO] if catalogue.scale == "demo" else []

    def layout(self, name: str) -> Layout:
        """The table's words: its own `title` and `caption`, else those of `dpmix.tables.captions.TABLES`.

        Raises:
            ParamsError: for a table that has no title in either place.
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
        # Titles from the code are the same for everybody, so only those of the params count.
        return [] if self.title is None and self.caption is None else [self.title, self.caption, *self.level_names()]


class Measured(Kind):
    """A kind in which each artefact of a cell is a JSON file with one number; a cell without artefacts is "N/A"."""

    @abstractmethod
    def value(self, record: dict[str, Any]) -> float:
        """The number that one artefact's JSON record has for the table, in `unit`."""

    def value_in(self, cell: CellSpec, record: dict[str, Any]) -> float:
        """`value`, for kinds whose cells show different numbers of the same record."""
        return self.value(record)

    def epsilon(self, artefact: Artefact, record: dict[str, Any], scale: str) -> float | None:
        """The ε that the artefact's executed steps spent; None if the table states no ε.

        Args:
            artefact: one of a cell's.
            record: its JSON record.
            scale: the name of the scale.
        """
        return None

    @override
    def read(self, cell: CellSpec, scale: str) -> Cell:
        if not cell.artefacts:
            return Cell(cell.row, cell.column, note="N/A")
        found = [
            read_part(artefact.path(scale), functools.partial(self._shown_of, cell, artefact, scale))
            for artefact in cell.artefacts
        ]
        epsilons = [epsilon for _, epsilon in found if epsilon is not None]
        values = tuple(value for value, _ in found)
        return Cell(cell.row, cell.column, values, epsilon=max(epsilons, default=None), end=cell.end)

    def _shown_of(
        self, cell: CellSpec, artefact: Artefact, scale: str, record: dict[str, Any]
    ) -> tuple[float, float | None]:
        """The value and the ε that one of a cell's artefacts has, by its record."""
        epsilon = self.epsilon(artefact, record, scale)
        return finite(self.value_in(cell, record)), None if epsilon is None else spent(epsilon)


T = TypeVar("T")


def read_part(path: Path, get: Callable[[Any], T]) -> T:
    """A part of a JSON record.

    Args:
        path: the record.
        get: takes the part from what the file holds, and raises a `ValueError` if it cannot be that.

    Raises:
        DpmixError: if the file is missing, lacks the part, or has something else in its place.
    """
    record = read_record(path)
    try:
        return get(record)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is not a whole record ({one_line(error)}); delete it and make it again") from error


def finite(value: Any) -> float:
    """A number of a record, which is a number and finite.

    >>> finite(80)
    80.0
    """
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number:g} is no finite number")
    return number


def percent(value: Any) -> float:
    """An accuracy of a record, between 0 and 100.

    >>> percent("97.5")
    97.5
    """
    number = float(value)
    if not 0 <= number <= 100:
        raise ValueError(f"{number:g} is no accuracy in per cent")
    return number


def spent(value: Any) -> float:
    """An ε of a record: 0 or more, and perhaps infinite.

    >>> spent("inf")
    inf
    """
    number = float(value)
    if not number >= 0:
        raise ValueError(f"{number:g} is no epsilon")
    return number


def place(row: Labels, column: Labels, table: str = "") -> str:
    """A cell for messages: the table in words, if it is given, and the labels, if there are any.

    >>> place(("digits",), ("ε = 1",), "table 9"), place((), (), "table 9")
    ('table 9, digits / ε = 1', 'table 9')
    """
    return ", ".join(part for part in (table, " / ".join((*row, *column))) if part)
