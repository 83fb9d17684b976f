"""From finished runs to a table: each cell's numbers, read from the files that its artefacts left."""

import importlib.util
import math
from typing import Any

from dpmix.catalogue import Catalogue, CellSpec
from dpmix.errors import DataError
from dpmix.experiment import Artefact, Distance, Experiment, Selection, ZeroShot
from dpmix.files import read_json
from dpmix.params import AccuracyTable, ExternalTable, FidTable
from dpmix.tables.captions import TABLES
from dpmix.tables.cells import Cell, Table
from dpmix.tables.published import published
from dpmix.tables.rates import Choice, footer


def build(number: str, catalogue: Catalogue) -> Table:
    """Table `number` of a scale, every value read from its runs.

    Raises:
        DpmixError: if a run that it needs has not been made.
    """
    spec = catalogue.spec.tables[number]
    layout = TABLES[int(number)]
    cells = tuple(_cell(number, cell, catalogue) for cell in catalogue.cells(number))
    notes = list(_notes(number, catalogue))
    if spec.kind == "runtime":
        notes.append(f"Measured on {_hardware(number, catalogue)}; a job's other heads share the time of their stream.")
    return Table(
        number=int(number),
        title=layout.title,
        caption=layout.caption,
        unit=layout.unit,
        row_names=layout.row_names,
        column_names=layout.column_names,
        cells=cells,
        scale=catalogue.scale,
        notes=tuple(notes),
    )


def _cell(number: str, cell: CellSpec, catalogue: Catalogue) -> Cell:
    spec = catalogue.spec.tables[number]
    paper = published(int(number)).get(cell.row, cell.column) if catalogue.scale == "paper" else None
    if isinstance(spec, ExternalTable):
        installed = importlib.util.find_spec(spec.implementation) is not None
        note = "not run" if installed else "not installed"
        return Cell(cell.row, cell.column, note=note, paper=paper, statistic="median")
    if not cell.artefacts:
        return Cell(cell.row, cell.column, note="N/A", paper=paper)
    records = [read_json(artefact.path(catalogue.scale)) for artefact in cell.artefacts]
    values = tuple(_value(artefact, record, spec) for artefact, record in zip(cell.artefacts, records, strict=True))
    if isinstance(spec, FidTable):
        return Cell(cell.row, cell.column, values, paper=paper)
    largest = max(
        _epsilon(artefact, record, catalogue) for artefact, record in zip(cell.artefacts, records, strict=True)
    )
    return Cell(cell.row, cell.column, values, epsilon=largest, paper=paper, end=cell.end)


def _epsilon(artefact: Artefact, record: dict[str, Any], catalogue: Catalogue) -> float:
    """The ε that a table states: that of the accountant which the noise was calibrated with.

    Infinite for a run without noise, and 0 where no private image was used.
    """
    if isinstance(artefact, ZeroShot):
        return 0.0
    assert isinstance(artefact, Experiment)
    if artefact.epsilon == math.inf:
        return math.inf
    spent = record["epsilon"].get(artefact.accountant)
    if spent is None:
        # The largest of the others would claim more than is known.
        path = artefact.path(catalogue.scale)
        raise DataError(f"{path} does not say its ε under {artefact.accountant}; delete it and make the run again")
    return float(spent)


def _value(artefact: Artefact, record: dict[str, Any], spec: AccuracyTable | FidTable) -> float:
    if isinstance(artefact, Distance):
        return float(record["distance"])
    return float(record["times"]["seconds"]) / 60 if spec.kind == "runtime" else float(record["accuracy"])


def _hardware(number: str, catalogue: Catalogue) -> str:
    used = set()
    for cell in catalogue.cells(number):
        for artefact in cell.artefacts:
            used.add(read_json(artefact.path(catalogue.scale))["times"]["hardware"])
    return " and ".join(sorted(used))


def _notes(number: str, catalogue: Catalogue) -> list[str]:
    notes = []
    rates = footer(_choices(number, catalogue))
    if rates:
        notes.append(rates)
    if catalogue.scale == "demo":
        notes.append("The demo's miniature: handwritten digits, tiny models, few views; not comparable with the paper.")
    spec = catalogue.spec.tables[number]
    if isinstance(spec, AccuracyTable) and spec.ladder is not None:
        prompts = " and ".join(f"“{prompt.format('…')}”" for prompt in catalogue.spec.prompts)
        method = catalogue.ladder_label(spec)
        label = f"{method} " if method else ""
        notes.append(
            f"Zero-shot (ε = 0): the encoder with its own text tower, asked for {prompts} with each class's name; no "
            f"private image is used, and nothing is random. Non-private (ε = ∞): {label}without noise, with a learning "
            "rate of its own. The paper has neither."
        )
    if isinstance(spec, FidTable) and spec.kind == "fid-views":
        notes.append(_synthetic_views(number, catalogue))
    if number == "1":
        notes.append(
            "The paper describes two ways to mix a microbatch and does not say which one its row shows; here the mixed "
            "image joins the microbatch, or (alone) replaces it."
        )
    return notes


def _choices(number: str, catalogue: Catalogue) -> list[Choice]:
    """The learning rates behind the accuracies of a table that were chosen, one for each cell."""
    choices = []
    for cell in catalogue.cells(number) if catalogue.spec.tables[number].kind == "accuracy" else ():
        first = cell.artefacts[0] if cell.artefacts else None  # a cell's runs differ in their seeds alone
        if isinstance(first, Experiment) and isinstance(first.learning_rate, Selection):
            selection = first.learning_rate
            grid = tuple(rate * selection.experiment.clip_norm for rate in selection.learning_rates)
            chosen = float(read_json(first.path(catalogue.scale))["learning_rate"]) * first.clip_norm
            choices.append(Choice(cell.row, cell.column, chosen, grid))
    return choices


def _synthetic_views(number: str, catalogue: Catalogue) -> str:
    """How many synthetic views each data set has in columns that do not say it."""
    counts = {}
    for cell in catalogue.cells(number):
        for artefact in cell.artefacts:
            if (
                isinstance(artefact, Distance)
                and artefact.views
                and artefact.views.k_diff
                and "," not in cell.column[-1]
            ):
                counts[cell.row[0]] = artefact.views.k_diff
    said = ", ".join(f"{dataset} {count}" for dataset, count in counts.items())
    unknown = " The paper does not say which K_DIFF it has." if catalogue.scale == "paper" else ""
    return f"K_DIFF where the column does not give it: {said}.{unknown}"
