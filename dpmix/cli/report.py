"""`dpmix report`: the page of a scale or of a folder of results, once or as results land, and its pictures as files."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpmix.errors import ParamsError

if TYPE_CHECKING:
    from dpmix.catalogue.catalogue import Catalogue

_PARAMS = Path("params.yaml")


def report(
    results: Annotated[
        Path | None, typer.Argument(help="A folder of results by itself; by default the scale's, with its runs.")
    ] = None,
    scale: Annotated[str | None, typer.Option(help="Of the params; by default the one that they name.")] = None,
    params: Annotated[Path, typer.Option(help="The params.")] = _PARAMS,
    output: Annotated[
        Path | None, typer.Option(help="The page; by default report/index.html in the folder of the results.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Other results, such as results/reference/demo: each cell beside theirs.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Also write its pictures into this folder, as SVG, PNG and PDF.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Write it again whenever results land, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="With --watch: seconds between looks.")] = 5.0,
) -> None:
    """Write the report of a scale, whatever is done of it: dpmix report. Or of a folder: dpmix report results/mine.

    Run it in the folder in which Snakemake runs, also while it does.
    """
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.params.read import read
    from dpmix.seals import records_read_once

    if results is not None and (scale is not None or watch):
        raise ParamsError("a folder of results is no scale of the params; leave out the folder, or --scale and --watch")
    catalogue = None if results is not None else Catalogue(read(params), scale)
    folder = results if results is not None else Path("results", catalogue.scale) if catalogue else Path()
    out = output or folder / "report" / "index.html"
    with records_read_once():
        seen = _landed(folder, catalogue) if catalogue is not None and watch else None
        _write(folder, out, catalogue, params, figures, against)
        while watch and catalogue is not None:
            # Looked at before it is written: what lands meanwhile is not in the page, but is seen at the next look.
            now = _landed(folder, catalogue)
            if now == seen:
                time.sleep(every)
                continue
            seen = now
            _write(folder, out, catalogue, params, figures, against)


def _write(
    folder: Path, out: Path, catalogue: "Catalogue | None", params: Path, figures: Path | None, against: Path | None
) -> None:
    from dpmix.files import write_text
    from dpmix.report.charts.choose import pictures
    from dpmix.report.charts.render import write
    from dpmix.report.data import beside, collect
    from dpmix.report.page.build import page

    found = collect(folder, catalogue, None if params == _PARAMS else str(params))
    if against is not None:
        found = beside(found, against)
    write_text(out, page(found, folder, out))
    typer.echo(out)
    if figures is not None:
        for chart in pictures(found).values():
            for path in write(chart, figures):
                typer.echo(path)


def _landed(folder: Path, catalogue: "Catalogue") -> tuple[object, ...]:
    """What a page is written again for: files that are made or made again, and jobs that start, end or fail."""
    from dpmix.status.standing import standing

    found = standing(catalogue)
    shown = [folder / "claims.json", *folder.glob("tables/*.json"), *folder.glob("figures/*.png")]
    times = {path: changed for path in (*found.paths.done, *map(str, shown)) if (changed := _changed(path))}
    return found.together, found.process, tuple(failure.line for failure in found.failures), times


def _changed(path: str) -> tuple[int, int] | None:
    """When a file was last changed, and its size; None if it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
