"""Tables of ModelMix beside DP-SGD: test accuracy, what amplification is worth, and attacks on what others released."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import override

from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.measurements import CanaryAttack
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec, made
from dpmix.errors import known
from dpmix.params.attacks import AttackSpec
from dpmix.params.declared import LabelKey
from dpmix.privacy.accounting import rounded_up
from dpmix.privacy.model_mix_accounting import AMPLIFIED
from dpmix.tables.cells import Cell
from dpmix.tables.kinds.base import finite, read_part, spent
from dpmix.tables.kinds.compared import ComparedTable
from dpmix.tables.kinds.differences import differences
from dpmix.tables.kinds.grid import joined_labels


class ModelMixTable(ComparedTable):
    """Test accuracy in per cent of methods in rows at each ε in a column, with attacks as further rows.

    An attack stands in the column of the ε that is claimed, and shows the ε that is there at least.
    """

    kind: Annotated[
        Literal["model-mix"], Field(description="Test accuracy in %, with differences of rows and canary attacks")
    ]
    attacks: Annotated[
        dict[LabelKey, AttackSpec], Field(description="Attacks on released runs of ModelMix, by the row's label")
    ] = {}  # noqa: RUF012

    @override
    def cells(self, where: str, catalogue: Catalogue) -> Iterable[CellSpec]:
        cells = list(super().cells(where, catalogue))
        yield from cells
        columns = {cell.column[-1]: cell.column for cell in cells}
        for label, attack in self.attacks.items():
            column = known(f"ε = {attack.epsilon:g}", columns, "column", f"attacks of {where}, {label}")
            artefact = made(CanaryAttack, f"{where}, {label}", **attack.model_dump())
            yield CellSpec((label,), columns[column], (artefact,))

    @override
    def read(self, cell: CellSpec, scale: str) -> Cell:
        if not _is_attack(cell):
            return super().read(cell, scale)
        (attack,) = cell.artefacts
        return Cell(cell.row, cell.column, note=f"ε ≥ {_rounded_down(_at_least(attack.path(scale)))}")

    @override
    def notes(self, name: str, catalogue: Catalogue) -> list[str]:
        """Of each pair of rows the difference at each ε, which bound on ε the runs state, and what attacks found."""
        cells = [cell for cell in catalogue.cells(name) if cell.artefacts]
        runs = [cell for cell in cells if not _is_attack(cell)]
        notes = super().notes(name, catalogue)
        values = {
            (joined_labels(cell.row), joined_labels(cell.column)): self.read(cell, catalogue.scale).values
            for cell in runs
        }
        notes += differences(self.compare, values)
        notes += self._bounds(runs, catalogue)
        attacks = [self._attacked(cell, catalogue) for cell in cells if _is_attack(cell)]
        how = "Attacks count true positives in simulated runs; false positives are bounded by proof."
        return [*notes, *attacks, *([how] if attacks else [])]

    def _bounds(self, runs: list[CellSpec], catalogue: Catalogue) -> list[str]:
        """For each row the largest ε spent, by its accountant (Theorem A), and by Theorem B where that is less."""
        said = []
        for row in dict.fromkeys(cell.row for cell in runs):
            found: dict[str, list[str]] = {}
            for cell in (cell for cell in runs if cell.row == row):
                largest: dict[str, float] = {}
                for one in cell.artefacts:
                    assert isinstance(one, Experiment)
                    for name, epsilon in _bounds_of(one, catalogue.scale).items():
                        largest[name] = max(largest.get(name, 0.0), epsilon)
                for name, value in sorted(largest.items()):
                    found.setdefault(name, []).append(f"{rounded_up(value, 2)} ({', '.join(cell.column)})")
            bounds = [f"by {_theorem(name)} {', '.join(values)}" for name, values in sorted(found.items())]
            said.append(f"{', '.join(row)}: ε executed {'; '.join(bounds)}.")
        return said

    def _attacked(self, cell: CellSpec, catalogue: Catalogue) -> str:
        (attack,) = cell.artefacts
        assert isinstance(attack, CanaryAttack)
        path = attack.path(catalogue.scale)
        least = _at_least(path)
        said, accounted = read_part(
            path, lambda record: (f"{record['confidence']:.0%}", finite(record["epsilon"]["accountant"]))
        )
        verdict = "so the claim is false" if least > attack.epsilon else "which does not contradict the claim"
        where = "" if attack.coordinates == "mixed" else " on coordinates that are not mixed"
        confidence = said.replace("%", " %")
        return (
            f"{cell.row[-1]}: attack on a run with momentum {attack.momentum:g}{where}, for which ε = "
            f"{attack.epsilon:g} is claimed (its accountant says {accounted:.3g}). At δ = "
            f"{attack.delta:g} its ε is at least {_rounded_down(least)} with {confidence} confidence, {verdict}."
        )


def _is_attack(cell: CellSpec) -> bool:
    return any(isinstance(one, CanaryAttack) for one in cell.artefacts)


def _theorem(name: str) -> str:
    return "Theorem B" if name == AMPLIFIED else f"Theorem A ({name})"


def _bounds_of(run: Experiment, scale: str) -> dict[str, float]:
    """The ε of a run by its accountant, and by the bound that it says is the smaller.

    Infinite without noise, and where an accountant has no bound on it.
    """

    def bounds(record: dict[str, Any]) -> dict[str, float]:
        names = {run.accountant, record.get("epsilon_by", run.accountant)}
        return {name: spent(record["epsilon"].get(name, math.inf)) for name in names}

    return read_part(run.path(scale), bounds)


def _at_least(path: Path) -> float:
    return read_part(path, lambda record: finite(record["epsilon"]["at_least"]))


def _rounded_down(value: float) -> str:
    return f"{math.floor(value * 10) / 10:.1f}"
