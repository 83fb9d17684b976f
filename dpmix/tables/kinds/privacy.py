"""ε of the paper's runs: nominal, by three accountants, and as its programs execute them. Nothing is trained."""

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from dpmix.artefacts.published_privacy import PublishedPrivacy
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec, Labels
from dpmix.errors import ParamsError, known
from dpmix.params.declared import Declared, LabelKey, PositiveInt, Some, Spec
from dpmix.params.settings import Epsilon
from dpmix.privacy.published_procedure import Batches, RateOf
from dpmix.tables.captions import EPSILON
from dpmix.tables.cells import Cell
from dpmix.tables.kinds.base import Kind, place, read_part, spent
from dpmix.tables.kinds.grid import split_labels

# The columns, by what `Procedure.epsilons` calls them.
COLUMNS: dict[str, Labels] = {
    "rdp": ("As calibrated", "RDP"),
    "prv": ("As calibrated", "PRV"),
    "pld": ("As calibrated", "PLD"),
    "taken": ("By the program", "steps taken"),
    "printed": ("By the program", "printed"),
    "executed": ("By the program", "executed"),
    "undoubled": ("Noise not doubled", "RDP"),
    "undoubled_exact": ("Noise not doubled", "exact"),
}

NOTES = (
    "As calibrated: σ by Opacus's RDP calibration for the nominal ε, then Poisson sampling with that σ, at the rate "
    "and for the steps of the calibration, by Rényi DP, privacy random variables and privacy loss distributions.",
    "By the program: with the steps that its loop takes (RDP); as it prints it, with a rate of one over the number of "
    "batches (RDP); and the worst case of the batches that it draws (PLD). Where these are the same in each epoch, "
    "that is the Gaussian mechanism composed once for each epoch, without amplification by sampling, for a record that "
    "is blanked out.",
    "Noise not doubled: microbatches of two with the same σ, where one record may move the sum by 2C: by RDP at that "
    "sensitivity, and the exact worst case (PLD). The paper has microbatches from scratch only.",
)


class Training(Spec):
    """A training run of the paper, as far as ε depends on it."""

    dataset: Annotated[str, Field(description="Name of a data set under `datasets`, for its number of training images")]
    batch_size: Annotated[PositiveInt, Field(description="B: examples of a batch"), Declared(unit="examples")]
    epochs: Annotated[PositiveInt, Field(description="E: passes over the training images"), Declared(unit="epochs")]
    rate: Annotated[
        RateOf,
        Field(
            description="Noise is calibrated for q = B / N (`sizes`), or for one over the number of batches (`loader`)"
        ),
    ] = "sizes"
    batches: Annotated[
        Batches,
        Field(description="How the program draws batches: `poisson`, `fixed-order`, or `reshuffled` in each epoch"),
    ] = "poisson"
    microbatches: Annotated[
        bool, Field(description="Whether the paper trains so with microbatches too, whose noise is to be doubled")
    ] = False


class PrivacyTable(Kind):
    """ε of runs that others executed, from their sizes alone: a row for each run and nominal ε."""

    unit: ClassVar[str] = EPSILON
    decimals: ClassVar[int] = 2

    kind: Annotated[Literal["privacy"], Field(description="ε of the paper's runs by what is counted")]
    trainings: Annotated[
        dict[LabelKey, Training],
        Field(min_length=1, description="The runs by the labels of their rows, `Training | Dataset`"),
    ]
    epsilons: Annotated[Some[Epsilon], Field(description="The nominal values of ε, for which noise is calibrated")]
    delta: Annotated[float, Field(gt=0, lt=1, description="δ of each (ε, δ)"), Declared(unit="probability")] = 1e-5

    @override
    def level_names(self) -> tuple[Labels, Labels]:
        return ("Training", "Dataset", "Nominal"), ("Counted", "How")

    @override
    def cells(self, where: str, catalogue: Catalogue) -> Iterable[CellSpec]:
        for label, training in self.trainings.items():
            dataset = catalogue.params.datasets[known(training.dataset, catalogue.params.datasets, "dataset", where)]
            for epsilon in self.epsilons:
                row = (*split_labels(label), f"ε = {epsilon:g}")
                if epsilon == math.inf:
                    raise ParamsError(f"params.yaml: {where}, {label}: no noise is calibrated for ε = .inf; remove it")
                published = PublishedPrivacy(
                    population=dataset.records,
                    epsilon=epsilon,
                    delta=self.delta,
                    **training.model_dump(exclude={"dataset"}),
                )
                try:
                    published.procedure()
                except ParamsError as error:
                    raise ParamsError(f"params.yaml: {place(row, (), where)}: {error}") from error
                for name, column in COLUMNS.items():
                    has = training.microbatches or not name.startswith("undoubled")
                    yield CellSpec(row, column, (published,) if has else ())

    @override
    def read(self, cell: CellSpec, scale: str) -> Cell:
        if not cell.artefacts:
            return Cell(cell.row, cell.column, note="N/A")
        (published,) = cell.artefacts
        assert isinstance(published, PublishedPrivacy)
        counted = next(name for name, column in COLUMNS.items() if column == cell.column)
        value = read_part(published.path(scale), lambda record: spent(record["epsilon"][counted]))
        bound = counted == "executed" and published.batches == "reshuffled"
        note = "an upper bound: the program draws a new order in each epoch" if bound else ""
        return Cell(cell.row, cell.column, (value,), note=note)

    @override
    def notes(self, name: str, catalogue: Catalogue) -> list[str]:
        return [f"ε at δ = {self.delta:g}, rounded up; computed, nothing is trained.", *NOTES]
