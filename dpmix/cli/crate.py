"""`dpmix crate`: a finished scale as an RO-Crate, one archive to hand in or to publish."""

from pathlib import Path
from typing import Annotated

import typer


def crate(
    scale: Annotated[str | None, typer.Option(help="Of the params; by default the one that they name.")] = None,
    output: Annotated[Path | None, typer.Option(help="By default results/<scale>/<scale>.crate.zip.")] = None,
    params: Annotated[Path, typer.Option(help="The params.")] = Path("params.yaml"),
) -> None:
    """Write a finished scale as an RO-Crate: results, workflow, params, versions, authors, each file with its SHA-256.

    Image stores, encoders and downloads are not in it: the workflow makes them again from the params.
    """
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.errors import ParamsError
    from dpmix.params.read import read
    from dpmix.report.crate import write

    catalogue = Catalogue(read(params), scale)
    try:
        below = params.resolve().relative_to(Path.cwd())
    except ValueError:
        raise ParamsError(f"{params} is not below this folder; copy it here, or run it in its checkout") from None
    out = output or Path("results", catalogue.scale, f"{catalogue.scale}.crate.zip")
    typer.echo(f"{out}: {write(catalogue, below, out):,} files")
