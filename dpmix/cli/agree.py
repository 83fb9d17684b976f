"""`dpmix agree` compares tables with the reference tables of the repository; `dpmix reference` writes these."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpmix.errors import DataError

if TYPE_CHECKING:
    from dpmix.tables.cells import Table

_REFERENCE = Path("results/reference")


def agree(
    results: Annotated[Path, typer.Argument(help="Folder of a scale's results.")] = Path("results/demo"),
    against: Annotated[
        Path | None, typer.Option(help="Results to compare with; by default results/reference/<scale>.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with status 1 where cells do not agree.")] = False,
) -> None:
    """Say which cells agree with the reference within two standard deviations over seeds, and which do not.

    A table that the reference has and these results lack, or that cannot be read, is an error; cells that differ are
    one only with --strict.
    """
    from dpmix.tables.agreement import compare, disagree, summary

    against = against or _REFERENCE / results.resolve().name
    found, reference = _tables(results), _tables(against)
    pairs = [pair for name, table in found.items() if name in reference for pair in compare(table, reference[name])]
    typer.echo(f"{results} beside {against}:")
    for line in summary(pairs):
        typer.echo(line)
    if more := [name for name in found if name not in reference]:
        typer.echo(f"Not in the reference: table {', '.join(more)}.")
    if missing := [name for name in reference if name not in found]:
        raise DataError(f"{results} lacks table {', '.join(missing)}, which {against} has; make it first")
    if strict and disagree(pairs):
        raise typer.Exit(1)


def _tables(results: Path) -> "dict[str, Table]":
    from dpmix.tables.render import read_all

    found = read_all(results / "tables")
    if not found:
        raise DataError(f"there are no tables in {results / 'tables'}; make them first, or name another folder")
    return {table.name: table for table in found}


def reference(
    params: Annotated[Path, typer.Option(help="The parameters.")] = Path("params.yaml"),
    scale: Annotated[str | None, typer.Option(help="Which scale of the params; by default the one they name.")] = None,
) -> None:
    """Render a finished scale's tables, figures and claims from its runs into results/reference/<scale>.

    They take the place of the old ones. Refuses, and leaves these, when a run that the params ask for is not there.
    """
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.claims.build import write as write_claims
    from dpmix.figures.draw import draw_figure
    from dpmix.files import atomic_directory
    from dpmix.params.read import read
    from dpmix.tables.build import build
    from dpmix.tables.render import write
    from dpmix.wording import counted

    catalogue = Catalogue(read(params), scale)
    needed = {artefact.path(catalogue.scale) for shown in catalogue.targets.values() for artefact in shown}
    if missing := sorted(path for path in needed if not path.exists()):
        others = f" and {len(missing) - 1} other files" if missing[1:] else ""
        raise DataError(f"scale {catalogue.scale} is not complete; make all its tables and figures first, "
                        f"then this again: there is no {missing[0]}{others}")  # fmt: skip
    tables = [build(number, catalogue) for number in catalogue.spec.tables]
    out = _REFERENCE / catalogue.scale
    with atomic_directory(out) as folder:
        for table in tables:
            write(table, folder / "tables")
        for number in catalogue.spec.figures:
            draw_figure(number, catalogue, folder / "figures")
        if "claims" in catalogue.targets:
            write_claims(catalogue, folder)
    made = f"{counted(len(tables), 'table')} and {counted(len(catalogue.spec.figures), 'figure')}"
    typer.echo(f"{out}: {made}; commit them")
