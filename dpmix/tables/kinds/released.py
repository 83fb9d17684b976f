"""Runs as a program executed them beside runs as they are published: accuracies, differences, and the ε executed."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import override

from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec, Labels
from dpmix.tables.kinds.base import percent
from dpmix.tables.kinds.compared import ComparedTable
from dpmix.tables.kinds.differences import differences
from dpmix.tables.kinds.grid import joined_labels
from dpmix.tables.statistics import mean

# Which of a run's epochs a column shows, and what its record calls the accuracy.
EPOCHS = {"last epoch": "accuracy", "best on test": "best_epoch_on_test"}
LAST, BEST = EPOCHS


class ReleasedTable(ComparedTable):
    """A grid of runs with two columns for each: the last epoch, which is the result, and the best on the test set.

    A cell whose batches were in a fixed order has the ε that was executed as a footnote, as in every grid.
    """

    kind: Annotated[
        Literal["released"],
        Field(description="Test accuracy in % after the last epoch, beside that of the best one on the test set"),
    ]

    @override
    def level_names(self) -> tuple[Labels, Labels]:
        rows, columns = super().level_names()
        return rows, (*columns, "Epoch")

    @override
    def cells(self, where: str, catalogue: Catalogue) -> Iterable[CellSpec]:
        for cell in super().cells(where, catalogue):
            for epoch in EPOCHS:
                yield CellSpec(cell.row, (*cell.column, epoch), cell.artefacts)

    @override
    def value_in(self, cell: CellSpec, record: dict[str, Any]) -> float:
        return percent(record[EPOCHS[cell.column[-1]]])

    @override
    def notes(self, name: str, catalogue: Catalogue) -> list[str]:
        """Also the differences that `compare` asks for, after the last epoch, and what the best epoch adds."""
        cells = [self.read(cell, catalogue.scale) for cell in catalogue.cells(name) if cell.artefacts]
        last, best = (
            {
                (joined_labels(cell.row), joined_labels(cell.column[:-1])): cell.values
                for cell in cells
                if cell.column[-1] == epoch
            }
            for epoch in EPOCHS
        )
        notes = differences(self.compare, last)
        gained = [one - other for place, values in best.items() for one, other in zip(values, last[place], strict=True)]
        gain = mean(gained)
        chosen = "Best on test: the epoch with the best test accuracy, which test images chose"
        more = "" if gain is None else f"; over all runs that adds {gain:.1f} points to the last epoch's"
        return [*super().notes(name, catalogue), *notes, f"{chosen}{more}."]
