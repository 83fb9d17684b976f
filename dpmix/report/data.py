"""All that the report shows, as typed values: tables with their cells and runs, claims, figures, how far a scale is.

`collect` reads it from what is on disk, whatever is there: a scale of which nothing, a part or all is made, with runs
that failed; or a folder of results by itself, without the params that asked for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec
from dpmix.errors import DataError
from dpmix.report.claims import read_claims
from dpmix.report.counted import Limit, Limits
from dpmix.report.differences import Difference, above, to_paper
from dpmix.report.runs import Facets, Run, State, facets, read_run
from dpmix.seals import records_read_once
from dpmix.status.standing import Standing, command, standing
from dpmix.tables.agreement import Pair, agrees_with_paper, compare
from dpmix.tables.build import build_from
from dpmix.tables.captions import MINUTES
from dpmix.tables.cells import Cell, Table
from dpmix.tables.render import read_all
from dpmix.tables.statistics import Interval, mean_interval

# The axes of tables that have the same name as a facet.
_AXES = {"Dataset": "dataset", "Model": "model", "Method": "method", "ε": "epsilon"}
# No more cells than this are named that only other results have.
_LISTED = 10


@dataclass(frozen=True)
class CellData:
    """One cell of a table and all that stands behind it.

    Attributes:
        cell: its labels and values.
        facets: what filters ask of it.
        runs: its runs, one for each seed; empty where the params are not known.
        interval: the mean of its values and its 95 % interval; None for fewer than two values.
        above: the difference to the nearest cell above it in its group of rows; None for the first, and without values.
        to_paper: the difference to the paper's number; None if the paper has none.
        agrees: whether it agrees with the paper; None where that cannot be said, as of times on other hardware.
        other: the same cell of other results, which the report is held against; None without these, or if they lack
            its table.
        limit: of a time, what its operations take at the least; None for all else, and where no GPU's peak is known.
    """

    cell: Cell
    facets: Facets
    runs: tuple[Run, ...] = ()
    interval: Interval | None = None
    above: Difference | None = None
    to_paper: Difference | None = None
    agrees: bool | None = None
    other: Pair | None = None
    limit: Limit | None = None

    @property
    def state(self) -> State | None:
        """What has become of its runs: failed if any is, else running, else missing, else done; None without runs."""
        states = {run.state for run in self.runs}
        return next((state for state in ("failed", "running", "missing", "done") if state in states), None)


@dataclass(frozen=True)
class TableData:
    """A table and what stands behind each of its cells, in the order of `table.cells`."""

    table: Table
    cells: tuple[CellData, ...]


@dataclass(frozen=True)
class Report:
    """All that the report shows.

    Attributes:
        scale: its name.
        tables: the paper's by number, then others by name; those of which nothing is made have empty cells.
        claims: what `claims.json` holds, one entry for each claim; empty without it.
        figures: by number, the PNG file of each figure that is drawn.
        standing: how far the scale is; None where the params are not known.
        command: what a command for these results begins with, up to its targets.
        against: the folder of other results beside which cells stand; empty without.
        one_sided: sentences on tables and cells that only one of the two has.
    """

    scale: str
    tables: tuple[TableData, ...]
    claims: tuple[Mapping[str, Any], ...]
    figures: Mapping[int, Path]
    standing: Standing | None
    command: str
    against: str = ""
    one_sided: tuple[str, ...] = ()

    @property
    def runs(self) -> dict[str, Run]:
        """All runs of its cells, by path."""
        return {run.path: run for table in self.tables for cell in table.cells for run in cell.runs}

    @property
    def methods(self) -> tuple[str, ...]:
        """The labels of methods in the order in which tables name them; a method's place gives it its colour."""
        named = [cell.facets.method for table in self.tables for cell in table.cells if cell.facets.method]
        return tuple(dict.fromkeys(named))

    @property
    def finished(self) -> str:
        """When the last of its runs ended, such as `2026-03-01 12:00`; empty without runs."""
        return max((run.finished for run in self.runs.values()), default="")[:16]

    @property
    def hardware(self) -> tuple[str, ...]:
        """The machines that its runs were made on."""
        return tuple(sorted({run.hardware for run in self.runs.values() if run.hardware}))


def collect(
    results: Path, catalogue: Catalogue | None = None, params: str | None = None, root: Path = Path()
) -> Report:
    """Read all that the report shows.

    Args:
        results: the folder `results/<scale>`; it may hold anything from nothing to a finished scale.
        catalogue: the scale, from which runs, failures and commands are known; without it, what `tables/table*.json`
            and `claims.json` hold is all.
        params: the params file, if it is not `params.yaml`; for commands.
        root: the folder in which Snakemake runs.

    Raises:
        DataError: if there is no catalogue, and the folder has neither tables nor figures; or a file that should hold
            a table or claims does not.
    """
    figures = _figures(results / "figures")
    claims = tuple(read_claims(results / "claims.json"))
    if catalogue is None:
        alone = read_all(results / "tables")
        if not alone and not figures:
            raise DataError(
                f"{results} has no tables or figures; make some first, e.g. `{_typed(results.name)} table9`"
            )
        return Report(results.name, tuple(map(_of_table, alone)), claims, figures, None, _typed(results.name))
    typed = command(catalogue, [""], params).rstrip()
    with records_read_once():
        found = standing(catalogue, root, params)
        states: dict[str, State] = dict.fromkeys(found.paths.done, "done")
        for path in found.paths.running:
            states[path] = "running"
        for path in found.paths.failed:
            states[path] = "failed"
        reader = _Reader(catalogue, found, states, root)
        tables = tuple(map(reader.table, catalogue.spec.tables))
    return Report(catalogue.scale, tables, claims, figures, found, typed)


def beside(report: Report, results: Path) -> Report:
    """The report, each cell beside the one with the same labels of other results.

    Args:
        report: as `collect` reads it.
        results: a folder of results, of which the tables are read.

    Raises:
        DataError: if there are no tables in it.
    """
    others = {table.name: table for table in read_all(results / "tables")}
    if not others:
        raise DataError(f"there are no tables in {results / 'tables'}; make them first, or name another folder")
    tables, there_only = [], list[Pair]()
    for data in report.tables:
        other = others.get(data.table.name)
        compared = compare(data.table, other) if other is not None else ()
        there_only += (pair for pair in compared if pair.found is None and pair.reference and pair.reference.values)
        pairs = {pair.place: pair for pair in compared}
        cells = (replace(one, other=pairs.get(one.cell.row + one.cell.column)) for one in data.cells)
        tables.append(replace(data, cells=tuple(cells)))
    said = _one_sided([data.table for data in report.tables], list(others.values()), there_only)
    return replace(report, tables=tuple(tables), against=str(results), one_sided=said)


def _one_sided(here: Sequence[Table], there: Sequence[Table], cells: Sequence[Pair]) -> tuple[str, ...]:
    """Sentences on the tables that only one side has, and on the cells that only the other side has."""
    said = []
    for where, some, others in (("here", here, there), ("there", there, here)):
        known = {table.name for table in others}
        if alone := [table.heading for table in some if table.name not in known]:
            said.append(f"Only {where}: {', '.join(alone)}.")
    if cells:
        more = f"; and {len(cells) - _LISTED} more" if len(cells) > _LISTED else ""
        said.append(f"Cells that are only there: {'; '.join(pair.name for pair in cells[:_LISTED])}{more}.")
    return tuple(said)


def _typed(scale: str) -> str:
    """What a command begins with for results of which only the folder is known."""
    return "snakemake --cores all" if scale == "demo" else f"snakemake --cores all --config scale={scale} --"


def _figures(folder: Path) -> dict[int, Path]:
    found = {path.stem.removeprefix("figure"): path for path in folder.glob("figure*.png")}
    return {int(number): found[number] for number in sorted(found) if number.isdigit()}


class _Reader:
    """Reads the tables of a scale; what is told of a run is made once, whatever number of cells show it."""

    def __init__(self, catalogue: Catalogue, found: Standing, states: Mapping[str, State], root: Path) -> None:
        self.catalogue, self.states, self.root = catalogue, states, root
        self.labels = {name: method.label for name, method in catalogue.params.methods.items()}
        self.failures = {path: failure for failure in found.failures for path in failure.outputs}
        self.runs: dict[str, Run] = {}
        self.broken: dict[str, str] = {}
        self.limits = Limits(catalogue)

    def table(self, name: str) -> TableData:
        done = {path for path, state in self.states.items() if state == "done"}
        table, broken = build_from(name, self.catalogue, done)
        self.broken |= broken
        specs = self.catalogue.cells(name)
        cells = _cells(table, [self._behind(spec) for spec in specs])
        if table.unit == MINUTES:
            pairs = zip(specs, cells, strict=True)
            cells = tuple(replace(one, limit=self._limit(spec, one)) for spec, one in pairs)
        return TableData(table, cells)

    def _limit(self, spec: CellSpec, one: CellData) -> Limit | None:
        run = next((artefact for artefact in spec.artefacts if isinstance(artefact, Experiment)), None)
        if run is None or not one.cell.values:
            return None
        used = {behind.hardware for behind in one.runs if behind.state == "done"}
        return self.limits.of(run, used, printed=one.cell.paper is not None and one.cell.paper.mean is not None)

    def _behind(self, spec: CellSpec) -> tuple[Facets, tuple[Run, ...]]:
        of = facets(spec.artefacts[0], self.labels) if spec.artefacts else Facets()
        return of, tuple(map(self._run, spec.artefacts))

    def _run(self, artefact: Artefact) -> Run:
        path = self.catalogue.path(artefact)
        if path not in self.runs:
            failure = self.failures.get(path)
            why, log = (failure.line, str(failure.log or "")) if failure else ("", "")
            self.runs[path] = read_run(artefact, path, self.states.get(path, "missing"), why, log, self.root)
        if path in self.broken and self.runs[path].state == "done":
            self.runs[path] = replace(self.runs[path], state="failed", why=self.broken[path], log=path)
        return self.runs[path]


def _of_table(table: Table) -> TableData:
    """A table of which only the file is known: filters go by its axes of the same name."""
    names = (*table.row_names, *table.column_names)
    behind = []
    for cell in table.cells:
        labels = dict(zip(names, (*cell.row, *cell.column), strict=True))
        of = {facet: labels[axis].removeprefix("ε = ") for axis, facet in _AXES.items() if axis in labels}
        behind.append((Facets(**of), ()))
    return TableData(table, _cells(table, behind))


def _cells(table: Table, behind: Sequence[tuple[Facets, tuple[Run, ...]]]) -> tuple[CellData, ...]:
    seeds = [_seeds(runs, cell) for (_, runs), cell in zip(behind, table.cells, strict=True)]
    upper = above(table, seeds)
    return tuple(
        CellData(
            cell, of, runs,
            interval=mean_interval(cell.values) if cell.seeds > 1 else None,
            above=upper[place], to_paper=to_paper(cell),
            agrees=None if table.unit == MINUTES else agrees_with_paper(cell),
        )
        for place, (cell, (of, runs)) in enumerate(zip(table.cells, behind, strict=True))
    )  # fmt: skip


def _seeds(runs: Sequence[Run], cell: Cell) -> tuple[int, ...]:
    """The seeds of a cell's values: those of its runs that are done; where runs are not known, their places."""
    known = tuple(run.seed for run in runs if run.state == "done" and run.seed is not None)
    return known if len(known) == cell.seeds else tuple(range(1, cell.seeds + 1))
