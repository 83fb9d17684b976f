"""The picture of tables of accuracy that have an axis ε: a panel for each data set, a curve for each method."""

from collections.abc import Sequence
from pathlib import Path

from dpmix.errors import DataError, ParamsError
from dpmix.figures.accuracy_curve import Curve, Panel, accuracy_panels
from dpmix.tables.captions import ACCURACY
from dpmix.tables.cells import Cell, Table

AXIS, CURVES = "ε", "Method"


def table_curve(tables: Sequence[Table], out_stem: Path) -> tuple[Path, ...]:
    """Draw the cells of tables: those of one method are a curve, and those of one data set a panel.

    All labels but those of ε and the method are common to a panel, and those that differ between panels are its title;
    reference rows (without noise) are lines.

    Args:
        tables: of accuracies, each with an axis `ε`, and one `Method`.
        out_stem: `<out_stem>.png` and `.svg` are written.

    Returns:
        Both paths.

    Raises:
        ParamsError: for a table without these axes, or of something else than accuracy.
        DataError: if there is nothing to draw.
    """
    for table in tables:
        names = (*table.row_names, *table.column_names)
        if table.unit != ACCURACY or not {AXIS, CURVES} <= set(names):
            raise ParamsError(
                f"table {table.name} cannot be drawn as curves of accuracy against ε: it has {table.unit} by "
                f"{', '.join(names)}; name one of accuracies with the axes {AXIS} and {CURVES}"
            )
    found: dict[str, set[str]] = {}
    for table in tables:
        for _, labels in _measured(table):
            for name, label in labels.items():
                found.setdefault(name, set()).add(label)
    titles = [name for name, labels in found.items() if name not in (AXIS, CURVES) and len(labels) > 1]
    panels = [panel for table in tables for panel in _panels(table, titles)]
    if not panels:
        raise DataError("these tables have no accuracies; make them first")
    return accuracy_panels(panels, out_stem)


def _measured(table: Table) -> list[tuple[Cell, dict[str, str]]]:
    """The cells that have values, with their labels by the axis's name."""
    names = (*table.row_names, *table.column_names)
    return [(cell, dict(zip(names, (*cell.row, *cell.column), strict=True))) for cell in table.cells if cell.values]


def _panels(table: Table, titles: Sequence[str]) -> list[Panel]:
    """The panels of one table, in the order of its cells; the title is made of the labels of the axes `titles`."""
    curves: dict[str, dict[str, dict[float, Sequence[float]]]] = {}
    references: dict[str, dict[str, Sequence[float]]] = {}
    for cell, labels in _measured(table):
        panel = ", ".join(labels[name] for name in titles if name in labels)
        if cell.end:  # the same at every ε
            references.setdefault(panel, {})[labels[CURVES]] = cell.values
        else:
            curves.setdefault(panel, {}).setdefault(labels[CURVES], {})[_epsilon(labels[AXIS], cell, table)] = (
                cell.values
            )
    return [
        Panel(name, [Curve(label, points) for label, points in found.items()], references.get(name, {}))
        for name, found in curves.items()
    ]


def _epsilon(label: str, cell: Cell, table: Table) -> float:
    """ε of a label `ε = 4`: what was asked for, and not what the executed steps spent, which is somewhat less."""
    try:
        return float(label.removeprefix(f"{AXIS} = "))
    except ValueError as error:
        raise ParamsError(
            f"table {table.name} has the label {label!r} on its axis {AXIS}, beside {', '.join(cell.row)}, which is no "
            "number; list values of ε there"
        ) from error
