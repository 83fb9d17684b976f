"""One call that makes an artefact and whatever it is made from, in this process.

`build` serves whoever wants a result; `make` serves Snakemake's jobs, for which the inputs are there already. Both call
the makers that `dpmix.makers` registers, so that a result is the same, byte for byte, whichever way it came to be.

    build(experiment, scale="demo")        # its images, encoder, D, plan and learning rate first
    build_target("table3", catalogue)      # the same for all that a table shows, then the table
"""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpmix.artefacts.base import Artefact
from dpmix.errors import DataError, DpmixError, known
from dpmix.execution import DEFAULT, Execution
from dpmix.makers import data, models, runs  # noqa: F401 (they register themselves)
from dpmix.makers.registry import Context, Maker, maker_of

if TYPE_CHECKING:
    from dpmix.catalogue.catalogue import Catalogue

_RAW = Path("data/raw")


def build(
    *artefacts: Artefact, scale: str, execution: Execution = DEFAULT, raw: Path = _RAW, quiet: bool = False
) -> list[Path]:
    """Make what is missing of these artefacts and of all that they are made from.

    What is there stays as it is, and nothing is asked of what it was made from. A call that was killed is repeated to
    go on where it was: finished artefacts are whole files, and an unfinished run goes on from its checkpoint. Under
    torchrun, runs are shared by all processes; the first makes everything else.

    Args:
        artefacts: what is wanted, such as an `Experiment`.
        scale: of the params, whose name is part of the paths of results.
        execution: on which device, how much at a time.
        raw: the folder of downloaded data sets.
        quiet: say nothing on stderr of what is made.

    Returns:
        The files that were made, in that order.

    Raises:
        ParamsError: if there is an artefact that nothing makes; then nothing has been made.
        DpmixError: as whatever is made raises it, in one line.
    """
    context, made = Context(scale, execution, raw), list[Path]()
    levels = missing(artefacts, scale)
    groups = [group for level in levels for group in _by_maker(level)]
    for number, (maker, group) in enumerate(groups, 1):
        paths = [artefact.path(scale) for artefact in group]
        if not quiet and _is_first():
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            print(f"[{number}/{len(groups)}] {paths[0]}{more}", file=sys.stderr, flush=True)
        _run(maker, group, context)
        for path in paths:
            if not path.exists():
                raise DpmixError(f"{maker.make.__name__} did not write {path}; mend that maker")
        made += paths
    return made


def make(artefacts: Sequence[Artefact], context: Context) -> None:
    """Make these artefacts, whose inputs are there; also those that exist.

    Raises:
        DpmixError: for an input that is missing or damaged, or an artefact that nothing makes.
    """
    for maker, group in _by_maker(artefacts):
        _run(maker, group, context)


def missing(artefacts: Iterable[Artefact], scale: str) -> list[list[Artefact]]:
    """What is not there yet of these and of all that they are made from, in the order in which it can be made.

    Each list holds what can be made at the same time, once the lists before it are. An artefact stands as late as those
    that need it allow, so that runs that share a stream of views meet in one list, whether their learning rates are
    chosen or given.
    """
    found: dict[Path, Artefact] = {}
    depth: dict[Path, int] = {}

    def visit(artefact: Artefact, below: int) -> None:
        path = artefact.path(scale)
        if depth.get(path, -1) >= below or (path not in found and path.exists()):
            return
        found[path], depth[path] = artefact, below
        for source in artefact.inputs():
            visit(source, below + 1)

    for artefact in artefacts:
        visit(artefact, 0)
    return [
        [found[path] for path, below in depth.items() if below == level]
        for level in range(max(depth.values(), default=-1), -1, -1)
    ]


def _by_maker(artefacts: Iterable[Artefact]) -> list[tuple[Maker, list[Artefact]]]:
    """Artefacts grouped by who makes them, in the order of the first of each group."""
    groups: dict[Maker, list[Artefact]] = {}
    for artefact in artefacts:
        groups.setdefault(maker_of(type(artefact)), []).append(artefact)
    return list(groups.items())


def _is_first() -> bool:
    """Whether this is the only process, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _run(maker: Maker, group: Sequence[Artefact], context: Context) -> None:
    if context.execution.threads:
        import torch

        torch.set_num_threads(context.execution.threads)
    if maker.collective or _is_first():
        maker.make(group, context)
    # If the first process fails, torchrun ends the others.
    while not all(artefact.path(context.scale).exists() for artefact in group) and not _is_first():
        time.sleep(0.5)


# Tables, figures and the report ---------------------------------------------------------------------------------------


def build_target(target: str, catalogue: "Catalogue", execution: Execution | None = None) -> list[Path]:
    """Make a table or figure of a scale, or the `report` of all, and whatever is missing of what it shows.

    Args:
        target: such as "table3", "figure2" or "report".
        catalogue: the params' scale.
        execution: by default as the scale's `bundle` says.

    Returns:
        The artefacts that were made for it; the target is written in any case.

    Raises:
        ParamsError: if the scale has no such target.
    """
    known(target, [*catalogue.targets, "report"], "table or figure")
    targets = list(catalogue.targets) if target == "report" else [target]
    wanted = [artefact for one in targets for artefact in catalogue.targets[one]]
    made = build(*wanted, scale=catalogue.scale, execution=execution or Execution.of(catalogue.spec.bundle))
    for one in dict.fromkeys((*targets, target)):
        make_target(one, catalogue)
    return made


def make_target(target: str, catalogue: "Catalogue") -> None:
    """Write a table, a figure or the `report` from what it shows, which is there.

    Raises:
        ParamsError: if the scale has no such target.
        DataError: if what it shows is missing or damaged.
    """
    known(target, [*catalogue.targets, "report"], "table or figure")
    results = Path("results", catalogue.scale)
    if target == "report":
        from dpmix.report import page

        if not results.exists():
            raise DataError(f"{results} does not exist; make the tables first: snakemake all_tables all_figures")
        page.build(results, results / "report" / "index.html")
    elif target.startswith("figure"):
        from dpmix.figures.draw import draw_figure

        draw_figure(target.removeprefix("figure"), catalogue)
    else:
        from dpmix.tables import build as tables
        from dpmix.tables.render import write

        write(tables.build(catalogue.tables[target], catalogue), results / "tables")
