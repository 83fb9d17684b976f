"""Tables of test accuracy, as most of the paper's are, with reference rows: zero-shot (ε = 0), non-private (ε = ∞)."""

import itertools
import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import override

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.artefacts.measurements import ZeroShot
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec
from dpmix.catalogue.unused import refuse_unused
from dpmix.errors import ParamsError
from dpmix.params.models import EncoderSpec
from dpmix.params.settings import Settings
from dpmix.params.tables import Axis
from dpmix.tables.kinds.base import finite, place, read_part
from dpmix.tables.kinds.compared import ComparedTable
from dpmix.tables.kinds.differences import differences
from dpmix.tables.kinds.grid import axis_names, joined_labels, points
from dpmix.tables.published import PAPERS
from dpmix.tables.rates import Choice, footer

ZERO_SHOT, NON_PRIVATE = "Zero-shot (ε = 0)", "Non-private (ε = ∞)"


class AccuracyTable(ComparedTable):
    """Test accuracy in per cent: one cell for each row and column, the mean or median over the seeds."""

    kind: Annotated[Literal["accuracy"], Field(description="Test accuracy in %")]
    ladder: Annotated[
        Settings | None,
        Field(
            description="Adds reference cells, as rows or columns: zero-shot classification (ε = 0), and a linear head "
            "trained without noise (ε = ∞), with these settings, such as a method"
        ),
    ] = None

    @override
    def cells(self, where: str, catalogue: Catalogue) -> Iterable[CellSpec]:
        cells = list(super().cells(where, catalogue))
        return cells if self.ladder is None else self._with_references(where, catalogue, cells, self.ladder)

    @override
    def shown(self, catalogue: Catalogue) -> list[Any]:
        ends = [] if self.ladder is None else [self._non_private_label(catalogue), catalogue.spec.prompts]
        return [*super().shown(catalogue), *ends]

    @override
    def notes(self, name: str, catalogue: Catalogue) -> list[str]:
        """Notes on learning rates chosen at an end of their grid, differences, and what the reference cells are."""
        rates = footer(choices(name, catalogue))
        notes = [*([rates] if rates else []), *super().notes(name, catalogue)]
        if self.compare:
            cells = [cell for cell in catalogue.cells(name) if cell.artefacts]
            values = {
                (joined_labels(cell.row), joined_labels(cell.column)): self.read(cell, catalogue.scale).values
                for cell in cells
            }
            notes += differences(self.compare, values)
        if self.ladder is not None:
            notes.append(self._references_in_words(name, catalogue))
        return notes

    def _references_in_words(self, name: str, catalogue: Catalogue) -> str:
        """What the reference cells that the table has are."""
        prompts = " and ".join(f"“{prompt.format('…')}”" for prompt in catalogue.spec.prompts)
        zero_shot = (
            f"{ZERO_SHOT}: the encoder with its own text tower, asked for {prompts} with each class's name; no private "
            "image is used, and nothing is random. "
        )
        has_text = any(isinstance(one, ZeroShot) for cell in catalogue.cells(name) for one in cell.artefacts)
        method = self._non_private_label(catalogue)
        label = f"{method} " if method else ""
        paper = f" The paper has {'neither' if has_text else 'no such cell'}." if name in PAPERS else ""
        return (
            f"{zero_shot if has_text else ''}{NON_PRIVATE}: {label}without noise, with a learning rate of its own."
            f"{paper}"
        )

    def _non_private_label(self, catalogue: Catalogue) -> str | None:
        """The label of the method that the non-private reference uses.

        None if the table has no references, or each takes the method of its row or column.
        """
        method = self.ladder and (self.ladder.method or self.fixed.method)
        return catalogue.params.methods[method].label if method else None

    def _with_references(
        self, where: str, catalogue: Catalogue, cells: list[CellSpec], ladder: Settings
    ) -> list[CellSpec]:
        """The cells and the reference cells.

        References are rows, unless every axis of the rows names data sets or models: then they are columns. There is
        one pair of references for each data set and model, so that with the rows (data set, method) the references of
        CIFAR-10 are the rows (CIFAR-10, Zero-shot) and (CIFAR-10, Non-private) below the methods of CIFAR-10: the
        outer axes, as long as they name data sets or models, keep their labels; in place of the next axis's label
        stands the reference's; labels of further axes are empty.

        Args:
            where: the table, for messages.
            catalogue: makes experiments of settings.
            cells: the table's own cells.
            ladder: settings of the non-private reference.

        Raises:
            ParamsError: if the axes of both sides all name data sets or models, or a setting has no effect.
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
            artefacts = self._reference(cell, end, place(row, column, where), catalogue)
            if artefacts:
                made.append(CellSpec(row, column, artefacts, end=True))
        without_noise = [one for cell in made if cell.end for one in cell.artefacts if isinstance(one, Experiment)]
        refuse_unused(f"{where}, ladder", [(ladder, run) for run in without_noise])
        order = {row[:depth] if below else row: at for at, row in reversed([*enumerate(c.row for c in cells)])}
        return sorted(made, key=lambda cell: (order[cell.row[:depth] if below else cell.row], cell.end))

    def _reference(self, cell: Settings, end: str, where: str, catalogue: Catalogue) -> tuple[Artefact, ...]:
        """The artefacts of one reference cell.

        Args:
            cell: the data set and model, and the settings of the non-private reference.
            end: `ZERO_SHOT` or `NON_PRIVATE`.
            where: the cell in words, for messages.
            catalogue: makes experiments of settings.

        Returns:
            The runs or the zero-shot measurement; an empty tuple for a network trained from scratch, and for zero-shot
            with an encoder that has no text tower.
        """
        full = catalogue.resolve(cell, where)
        dataset, model = catalogue.params.datasets[str(full.dataset)], catalogue.params.models[str(full.model)]
        if not isinstance(model, EncoderSpec):
            return ()
        if end == NON_PRIVATE:
            return self.runs(Settings(epsilon=math.inf).over(cell), where, catalogue, None)
        if not model.library.has_text:
            return ()
        return (ZeroShot(dataset=dataset, model=model, prompts=catalogue.spec.prompts),)


def _names_data(axis: Axis) -> bool:
    """Whether all that an axis varies is the data set or the model, and not the method."""
    if axis.values is None:
        return axis.dataset is not None or axis.model is not None
    return all((one.dataset or one.model) and not one.method for one in axis.values.values())


def choices(name: str, catalogue: Catalogue) -> list[Choice]:
    """For each cell whose learning rate was `tuned`, the rate that was chosen and its candidates."""
    found = []
    for cell in catalogue.cells(name):
        first = cell.artefacts[0] if cell.artefacts else None  # a cell's runs differ in their seeds alone
        if isinstance(first, Experiment) and isinstance(first.learning_rate, Selection):
            selection = first.learning_rate
            grid = tuple(rate * selection.experiment.clip_norm for rate in selection.learning_rates)
            chosen = read_part(first.path(catalogue.scale), lambda record: finite(record["learning_rate"]))
            chosen *= first.clip_norm
            found.append(Choice(cell.row, cell.column, chosen, grid))
    return found
