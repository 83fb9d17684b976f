"""Makes tables, figures, the claims and the report of a scale in this process.

`build_target` makes first everything missing that a target shows; `make_target` makes a target of what is there, as a
Snakemake job does. Both write the same bytes.

    build_target("table3", catalogue)      # its runs and all that they are made from, then the table
"""

from pathlib import Path
from typing import TYPE_CHECKING

from dpmix.build import build, check
from dpmix.catalogue import stamps
from dpmix.errors import DataError, known
from dpmix.execution import Execution
from dpmix.makers.registry import Context

if TYPE_CHECKING:
    from dpmix.catalogue.catalogue import Catalogue


def build_target(
    target: str, catalogue: "Catalogue", execution: Execution | None = None, quiet: bool = False
) -> list[Path]:
    """Make a table, a figure, the `claims` or the `report` of all of them, and first everything missing that it shows.

    Args:
        target: such as "table3", "figure2" or "report".
        catalogue: the scale.
        execution: how to compute; by default as the scale's `bundle` says.
        quiet: print nothing on stderr about what is being made.

    Returns:
        The files of the artefacts that were made. The target itself is written whether or not any were.

    Raises:
        ParamsError: if the scale has no such target.
    """
    known(target, [*catalogue.targets, "report"], "table or figure")
    targets = list(catalogue.targets) if target == "report" else [target]
    wanted = [artefact for one in targets for artefact in catalogue.targets[one]]
    execution = execution or Execution.of(catalogue.spec.bundle)
    made = build(*wanted, scale=catalogue.scale, execution=execution, quiet=quiet)
    for one in dict.fromkeys((*targets, target)):
        make_target(one, catalogue)
    return made


def make_target(target: str, catalogue: "Catalogue", params: str | None = None) -> None:
    """Write a table, a figure, the `claims` or the `report`, for which all that it shows must exist.

    Args:
        target: such as "table3", "figure2" or "report".
        catalogue: the scale.
        params: the params file, if it is not `params.yaml`; for the commands that the report shows.

    Raises:
        ParamsError: if the scale has no such target.
        DataError: if what it shows is missing or damaged.
    """
    known(target, [*catalogue.targets, "report"], "table or figure")
    results = Path("results", catalogue.scale)
    check(catalogue.targets.get(target, ()), Context(catalogue.scale))
    stamps.remove(catalogue, target)
    if target == "claims":
        from dpmix.claims.build import write as write_claims

        write_claims(catalogue, results)
    elif target == "report":
        from dpmix.report.page.build import build as build_page

        if not results.exists():
            raise DataError(f"{results} does not exist; make the tables first: snakemake all_tables all_figures")
        build_page(results, results / "report" / "index.html", catalogue, params)
    elif target.startswith("figure"):
        from dpmix.figures.draw import draw_figure

        draw_figure(target.removeprefix("figure"), catalogue)
    else:
        from dpmix.tables import build as tables
        from dpmix.tables.render import write

        write(tables.build(catalogue.tables[target], catalogue), results / "tables")
    if target != "report" or all(Path(path).exists() for path in stamps.sources_of(catalogue, target)):
        stamps.write(catalogue, target)  # a page of what is there so far is none that was asked for
