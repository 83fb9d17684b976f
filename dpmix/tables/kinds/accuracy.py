"""Test accuracies, with the reference rows (or columns) of the ladder, as most of the paper's tables are."""

import itertools
import math
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from typing_extensions import override

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.artefacts.measurements import ZeroShot
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec
from dpmix.catalogue.unused import refuse_unused
from dpmix.errors import ParamsError
from dpmix.files import read_json
from dpmix.params.specs import EncoderSpec, Settings
from dpmix.params.tables import Axis
from dpmix.tables.captions import ACCURACY
from dpmix.tables.kinds.base import place
from dpmix.tables.kinds.grid import GridTable, axis_names, points
from dpmix.tables.rates import Choice, footer

ZERO_SHOT, NON_PRIVATE = "Zero-shot (ε = 0)", "Non-private (ε = ∞)"


class AccuracyTable(GridTable):
    """A grid of experiments: one cell for each row and column, averaged over the seeds.

    `ladder` adds the two ends of the privacy ladder: zero-shot classification (ε = 0), and the head that its settings
    describe, such as a method, without noise (ε = ∞).
    """

    unit: ClassVar[str] = ACCURACY

    kind: Literal["accuracy"]
    ladder: Settings | None = None

    @override
    def cells(self, where: str, catalogue: Catalogue) -> Iterable[CellSpec]:
        cells = list(super().cells(where, catalogue))
        return cells if self.ladder is None else self._with_ends(where, catalogue, cells, self.ladder)

    @override
    def value(self, record: dict[str, Any]) -> float:
        return float(record["accuracy"])

    @override
    def shown(self, catalogue: Catalogue) -> list[Any]:
        ends = [] if self.ladder is None else [self._ladder_label(catalogue), catalogue.spec.prompts]
        return [*super().shown(catalogue), *ends]

    @override
    def notes(self, name: str, catalogue: Catalogue) -> list[str]:
        """At which ends of their grids learning rates were chosen, and what the ends of the ladder are."""
        rates = footer(_choices(name, catalogue))
        notes = [*([rates] if rates else []), *super().notes(name, catalogue)]
        if self.ladder is not None:
            prompts = " and ".join(f"“{prompt.format('…')}”" for prompt in catalogue.spec.prompts)
            method = self._ladder_label(catalogue)
            label = f"{method} " if method else ""
            notes.append(
                f"Zero-shot (ε = 0): the encoder with its own text tower, asked for {prompts} with each class's name; "
                f"no private image is used, and nothing is random. Non-private (ε = ∞): {label}without noise, with a "
                "learning rate of its own. The paper has neither."
            )
        return notes

    def _ladder_label(self, catalogue: Catalogue) -> str | None:
        """The label of the method that is trained without noise at the end of the ladder.

        None without a ladder, and where the methods are those of the rows or columns.
        """
        method = self.ladder and (self.ladder.method or self.fixed.method)
        return catalogue.params.methods[method].label if method else None

    def _with_ends(self, where: str, catalogue: Catalogue, cells: list[CellSpec], ladder: Settings) -> list[CellSpec]:
        """The cells, and the two ends of the ladder below each block of rows, or else beside the columns.

        The leading axes of that side which name data sets or models keep their labels, since each data set and model
        has ends of its own; the labels of the axes after them, such as methods, give way to that of the end.
        """
        below = not all(map(_names_data, self.rows))
        side, across = (self.rows, self.columns) if below else (self.columns, self.rows)
        kept = tuple(itertools.takewhile(_names_data, side))
        depth = len(axis_names(kept))
        if depth == len(axis_names(side)):
            raise ParamsError(
                f"params.yaml: {where}: its ladder has no place, since every axis names data sets or models; add an "
                "axis of something else, such as methods, or remove the ladder"
            )
        rest = ("",) * (len(axis_names(side)) - depth - 1)
        made = list(cells)
        for (block, outer), (other, inner), end in itertools.product(
            points(where, kept, catalogue.params), points(where, across, catalogue.params), (ZERO_SHOT, NON_PRIVATE)
        ):
            label = (*block, end, *rest)
            row, column = (label, other) if below else (other, label)
            cell = ladder.over(inner.over(outer).over(self.fixed))
            artefacts = self._end(cell, end, f"{where}, {place(row, column)}", catalogue)
            if artefacts:
                made.append(CellSpec(row, column, artefacts, end=True))
        without_noise = [one for cell in made if cell.end for one in cell.artefacts if isinstance(one, Experiment)]
        refuse_unused(f"{where}, ladder", [(ladder, run) for run in without_noise])
        order = {row[:depth] if below else row: at for at, row in reversed([*enumerate(c.row for c in cells)])}
        return sorted(made, key=lambda cell: (order[cell.row[:depth] if below else cell.row], cell.end))

    def _end(self, cell: Settings, end: str, where: str, catalogue: Catalogue) -> tuple[Artefact, ...]:
        """What one end of the ladder shows for a data set and model; nothing for a network trained from scratch."""
        full = catalogue.resolve(cell, where)
        dataset, model = catalogue.params.datasets[str(full.dataset)], catalogue.params.models[str(full.model)]
        if not isinstance(model, EncoderSpec):
            return ()
        if end == NON_PRIVATE:
            return self.runs(Settings(epsilon=math.inf).over(cell), where, catalogue, None)
        return (ZeroShot(dataset=dataset, model=model, prompts=catalogue.spec.prompts),) if model.has_text else ()


def _names_data(axis: Axis) -> bool:
    """Whether an axis goes through data sets or models, rather than through what is done with them."""
    if axis.values is None:
        return axis.dataset is not None or axis.model is not None
    return all((one.dataset or one.model) and not one.method for one in axis.values.values())


def _choices(name: str, catalogue: Catalogue) -> list[Choice]:
    """The learning rates behind a table's accuracies that were chosen, one for each cell."""
    choices = []
    for cell in catalogue.cells(name):
        first = cell.artefacts[0] if cell.artefacts else None  # a cell's runs differ in their seeds alone
        if isinstance(first, Experiment) and isinstance(first.learning_rate, Selection):
            selection = first.learning_rate
            grid = tuple(rate * selection.experiment.clip_norm for rate in selection.learning_rates)
            chosen = float(read_json(first.path(catalogue.scale))["learning_rate"]) * first.clip_norm
            choices.append(Choice(cell.row, cell.column, chosen, grid))
    return choices
