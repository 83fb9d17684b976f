"""Judges a scale's claims: reads what they compare from the files of its runs, and writes what it found."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from dpmix.artefacts.experiment import Experiment, GradientRecord
from dpmix.catalogue.catalogue import Catalogue
from dpmix.claims.judge import of_paper, of_runs
from dpmix.claims.render import Judged, markdown, to_json
from dpmix.claims.target import RunCell, on_paper, on_runs
from dpmix.files import write_json, write_text
from dpmix.seals import read_record
from dpmix.tables.captions import ACCURACY
from dpmix.tables.kinds.base import Kind, Measured


def judged(catalogue: Catalogue) -> list[Judged]:
    """Every claim, judged by this scale's runs and by the paper's numbers.

    Raises:
        ParamsError: for a mistake in `claims.yaml`.
        DpmixError: for a run that is missing or damaged.
    """
    values, epsilons = (cache(lambda cell, read=read: read(cell, catalogue)) for read in (_values, _epsilons))
    paper = {claim.id: contrasts for claim, contrasts in on_paper(catalogue.params)}
    found = []
    for claim, contrasts in on_runs(catalogue):
        runs = of_runs(claim, contrasts, values, epsilons)
        cells = [pair.higher for contrast in contrasts for pair in contrast.pairs]
        found.append(Judged(claim, _unit(cells, catalogue), runs, of_paper(claim, paper[claim.id])))
    return found


def write(catalogue: Catalogue, folder: Path) -> tuple[Path, Path]:
    """Write `claims.json` and `claims.md` in a folder, each whole or not at all; return their paths."""
    found = judged(catalogue)
    json_path, md_path = folder / "claims.json", folder / "claims.md"
    write_json(json_path, to_json(found, catalogue.scale))
    write_text(md_path, markdown(to_json(found, catalogue.scale)))
    return json_path, md_path


def _kind(cell: RunCell, catalogue: Catalogue) -> Kind:
    table = catalogue.spec.tables[cell.table]
    assert isinstance(table, Kind)
    return table


def _unit(cells: list[RunCell], catalogue: Catalogue) -> str:
    units = {_kind(cell, catalogue).unit if cell.table != "figure2" else "standard deviation" for cell in cells}
    return next(iter(units), ACCURACY)


def _seed(artefact: object) -> int:
    """Of a run; 0 for what is not random, such as a distance."""
    if isinstance(artefact, GradientRecord):
        artefact = artefact.experiment
    return artefact.seed if isinstance(artefact, Experiment) else 0


def _values(cell: RunCell, catalogue: Catalogue) -> Mapping[int, float]:
    """A cell's numbers by seed: what its table shows of each run, or the spread of gradients as in Figure 2."""
    seeds = list(map(_seed, cell.cell.artefacts))
    if cell.table != "figure2":
        return dict(zip(seeds, _kind(cell, catalogue).read(cell.cell, catalogue.scale).values, strict=True))
    from dpmix.figures.figure2 import GradientPanel
    from dpmix.training.outcome import read_magnitudes

    found = {}
    for seed, artefact in zip(seeds, cell.cell.artefacts, strict=True):
        magnitudes, _ = read_magnitudes(artefact.path(catalogue.scale))
        found[seed] = GradientPanel("", "", magnitudes).sd
    return found


def _epsilons(cell: RunCell, catalogue: Catalogue) -> Mapping[int, float]:
    """The ε that the executed steps of a cell's runs spent, by seed."""
    table, found = _kind(cell, catalogue), {}
    assert isinstance(table, Measured)
    for artefact in cell.cell.artefacts:
        spent = table.epsilon(artefact, read_record(artefact.path(catalogue.scale)), catalogue.scale)
        if spent is not None:
            found[_seed(artefact)] = spent
    return found
