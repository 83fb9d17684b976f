"""Tables of runs: a cell for every combination of a row's and a column's settings, with one run for each seed."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import override

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.measurements import ZeroShot
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec, Labels
from dpmix.catalogue.unused import refuse_unused
from dpmix.errors import DataError, ParamsError, known
from dpmix.params.declared import Declared, Seeds
from dpmix.params.scales import Params
from dpmix.params.settings import Settings
from dpmix.params.tables import Axis
from dpmix.privacy.accounting import rounded_up
from dpmix.tables.cells import Cell
from dpmix.tables.kinds.base import Measured, place


class GridTable(Measured):
    """A grid of experiments: one cell for each row and column, the mean or median over the seeds.

    A cell whose batches were in a fixed order has the ε that was executed as a footnote: that of its row or column is
    nominal.
    """

    rows: Annotated[tuple[Axis, ...], Field(description="Axes that span the rows, outermost first")] = ()
    columns: Annotated[tuple[Axis, ...], Field(description="Axes that span the columns, outermost first")] = ()
    fixed: Annotated[
        Settings, Field(description="Settings of all cells; the row's override them, and the column's override both")
    ] = Settings()
    tuned_as: Annotated[
        Settings | None,
        Field(description="Settings that override a cell's while its learning rate is chosen"),
        Declared(unless="no learning rate is tuned"),
    ] = None
    omit: Annotated[
        tuple[Annotated[dict[str, str], Field(min_length=1)], ...],
        Field(description="Cells that stay empty: those that have all labels of one of these, by axis"),
        Declared(determines=False),
    ] = ()
    seeds: Annotated[Seeds | None, Field(description="Seeds in place of the scale's")] = None
    statistic: Annotated[
        Literal["mean", "median"], Field(description="What cells show of their seeds"), Declared(determines=False)
    ] = "mean"

    @override
    def read(self, cell: CellSpec, scale: str) -> Cell:
        found = super().read(cell, scale)
        return replace(found, statistic=self.statistic, note=found.note or _executed(cell, found.epsilon))

    @override
    def shown(self, catalogue: Catalogue) -> list[Any]:
        return [*super().shown(catalogue), *(["median"] if self.statistic == "median" else [])]

    @override
    def level_names(self) -> tuple[Labels, Labels]:
        return axis_names(self.rows), axis_names(self.columns)

    @override
    def cells(self, where: str, catalogue: Catalogue) -> Iterable[CellSpec]:
        rows, columns = (list(points(where, side, catalogue.params)) for side in (self.rows, self.columns))
        self._check_omit(where, [(row, column) for row, _ in rows for column, _ in columns])
        given: list[tuple[Settings, Experiment]] = []
        for (row, of_row), (column, of_column) in itertools.product(rows, columns):
            if self._omits(row, column):
                yield CellSpec(row, column, ())
                continue
            cell = of_column.over(of_row).over(self.fixed)
            runs = self.runs(cell, place(row, column, where), catalogue, self.tuned_as)
            given.append((cell, runs[0]))
            yield CellSpec(row, column, runs)
        refuse_unused(where, given)

    def runs(
        self, cell: Settings, where: str, catalogue: Catalogue, tuned_as: Settings | None
    ) -> tuple[Experiment, ...]:
        """The runs of one cell, one for each seed."""
        first, *others = self.seeds or catalogue.spec.seeds
        run = catalogue.experiment(cell, first, where, tuned_as)
        return (run, *map(run.with_seed, others))

    @override
    def epsilon(self, artefact: Artefact, record: dict[str, Any], scale: str) -> float:
        """The ε that the run's executed steps spent, by the accountant that its noise was calibrated with.

        A run of ModelMix says by itself which of its bounds is the smaller.

        Infinite for a run without noise; 0 for zero-shot classification, which uses no private image.

        Raises:
            DataError: if the record has no ε of this accountant.
        """
        if isinstance(artefact, ZeroShot):
            return 0.0
        assert isinstance(artefact, Experiment)
        if artefact.epsilon == math.inf:
            return math.inf
        spent = record["epsilon"].get(record.get("epsilon_by", artefact.accountant))
        if spent is None:
            # An ε of another accountant would not be the one that the table states.
            path = artefact.path(scale)
            raise DataError(f"{path} does not say its ε under {artefact.accountant}; delete it and make the run again")
        return float(spent)

    def _check_omit(self, where: str, places: list[tuple[Labels, Labels]]) -> None:
        """Every rule of `omit` names axes and labels that exist; one that matches nothing is a typo."""
        names = axis_names((*self.rows, *self.columns))
        for rule in self.omit:
            for axis, label in rule.items():
                known(axis, names, "axis", f"omit of {where}")
                labels = dict.fromkeys((*row, *column)[names.index(axis)] for row, column in places)
                known(label, labels, axis, f"omit of {where}")

    def _omits(self, row: Labels, column: Labels) -> bool:
        names = axis_names((*self.rows, *self.columns))
        here = dict(zip(names, (*row, *column), strict=True))
        return any(all(here.get(axis) == label for axis, label in rule.items()) for rule in self.omit)


def points(where: str, axes: tuple[Axis, ...], params: Params) -> Iterator[tuple[Labels, Settings]]:
    """All rows, or all columns: every combination of the axes' values.

    Args:
        where: the table, for messages.
        axes: of one side, outermost first.
        params: where the labels of data sets, models and methods are.

    Returns:
        For each combination its labels, and its settings: those of an inner axis override those of an outer one.
    """
    for combination in itertools.product(*(_axis(where, axis, params) for axis in axes)):
        settings = Settings()
        for _, over in combination:
            settings = over.over(settings)
        yield tuple(part for label, _ in combination for part in split_labels(label)), settings


def _axis(where: str, axis: Axis, params: Params) -> list[tuple[str, Settings]]:
    """The label and settings of each value of one axis."""
    if axis.values is not None:
        along = list(axis.values.items())
    else:
        ((key, values),) = axis.model_dump(exclude_none=True, exclude={"axis"}).items()
        along = [(_label(where, key, value, params), Settings(**{key: value})) for value in values]
    wanted = len(split_labels(axis.axis))
    for label, _ in along:
        if len(split_labels(label)) != wanted:
            raise ParamsError(
                f"params.yaml: {where}: the label {label!r} has {len(split_labels(label))} levels, not the {wanted} of "
                f"its axis {axis.axis!r}; mend one"
            )
    return along


def _label(where: str, key: str, value: str | float, params: Params) -> str:
    named: dict[str, Mapping[str, Any]] = {"dataset": params.datasets, "model": params.models, "method": params.methods}
    if key in named:
        return str(named[key][known(str(value), named[key], key, where)].label)
    if key == "epsilon":
        return "ε = ∞" if value == math.inf else f"ε = {value:g}"
    return str(value)


def split_labels(label: str) -> Labels:
    """The parts of a label that fills several label columns, separated by `|`.

    >>> split_labels("Self-Aug | 16")
    ('Self-Aug', '16')
    """
    return tuple(part.strip() for part in label.split("|"))


def joined_labels(labels: Labels) -> str:
    """The labels of several label columns as one: what `split_labels` takes apart.

    >>> joined_labels(("Self-Aug", "16"))
    'Self-Aug | 16'
    """
    return " | ".join(labels)


def axis_names(axes: tuple[Axis, ...]) -> Labels:
    """The names of the label columns (or header lines) of these axes."""
    return tuple(name for axis in axes for name in split_labels(axis.axis))


def _executed(cell: CellSpec, epsilon: float | None) -> str:
    """A footnote with the executed ε of runs whose batches were in a fixed order; empty for others."""
    ordered = [run for run in cell.artefacts if isinstance(run, Experiment) and run.batches == "fixed-order"]
    if not ordered or epsilon is None or epsilon == math.inf:
        return ""
    return f"batches in a fixed order: ε executed is {rounded_up(epsilon, 2)}, and {ordered[0].epsilon:g} is nominal"
