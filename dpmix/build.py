"""Makes artefacts in this process; tables, figures and the report of them are made by `dpmix.targets`.

`build` makes an artefact and first everything missing that it is made from. `make` makes an artefact whose inputs exist
already, as they do in a Snakemake job. Both call the makers of `dpmix.makers`, and give the same bytes.

    build(experiment, scale="demo")        # its images, encoder, D, plan and learning rate first
"""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from dpmix import code
from dpmix.artefacts.base import Artefact
from dpmix.catalogue.changed import refuse_changed
from dpmix.errors import DpmixError, ParamsError
from dpmix.execution import DEFAULT, Execution, usable_device
from dpmix.makers import data, models, runs  # noqa: F401 (they register themselves)
from dpmix.makers.registry import Context, Maker, maker_of
from dpmix.params.keys import check_name

_RAW = Path("data/raw")


def build(
    *artefacts: Artefact, scale: str, execution: Execution = DEFAULT, raw: Path = _RAW, quiet: bool = False
) -> list[Path]:
    """Make these artefacts and their inputs, inputs of inputs included, as far as they are missing.

    An artefact whose file exists is left alone, and its inputs are not looked at. After a kill, the same call goes on:
    files are whole or absent, and an unfinished run has a checkpoint. Under torchrun all processes share each run, and
    the first one makes everything else.

    Args:
        artefacts: what is wanted, such as an `Experiment`.
        scale: the name of a scale, which is part of the paths of results.
        execution: how to compute: device, batch sizes, precision.
        raw: the folder of downloaded data sets.
        quiet: print nothing on stderr about what is being made.

    Returns:
        The files that were made, in the order in which they were made.

    Raises:
        ParamsError: for what is no artefact or no `Execution`, or a kind of artefact that has no maker, or a scale
            that is no name; nothing has been made then.
        DataError: if images or other inputs have changed of which some of it was made; nothing has been made then.
        DpmixError: whatever a maker raises, in one line.
    """
    for artefact in artefacts:
        if not isinstance(artefact, Artefact):
            raise ParamsError(
                f"{artefact!r:.80} is no artefact; give build() artefacts such as an Experiment, each by itself"
            )
    if not isinstance(execution, Execution):
        raise ParamsError(f"execution {execution!r} is no Execution; give Execution(device={execution!r})")
    check_name(scale, "scale")
    if execution.device is not None:
        usable_device(execution.device)
    context, made = Context(scale, execution, raw), list[Path]()
    refuse_changed(artefacts, scale)
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
    """Make these artefacts, whose inputs must exist. Artefacts that exist are made again.

    Args:
        artefacts: of any kinds.
        context: the scale, how to compute, and the folder of downloads.

    Raises:
        DpmixError: for an input that is missing or damaged, or a kind of artefact that has no maker.
    """
    for maker, group in _by_maker(artefacts):
        _run(maker, group, context)


def check(artefacts: Iterable[Artefact], context: Context) -> None:
    """Check these artefacts, as far as they exist, by the checks of their makers.

    Raises:
        DataError: if a file of one is damaged, or it was made of images that have changed since.
    """
    for path, artefact in {artefact.path(context.scale): artefact for artefact in artefacts}.items():
        if path.exists():
            maker_of(type(artefact)).check(artefact, context)


def missing(artefacts: Iterable[Artefact], scale: str) -> list[list[Artefact]]:
    """The artefacts that do not exist yet among these and their inputs, grouped in the order of making.

    Each list can be made at the same time, once the lists before it have been. An artefact is in the latest list that
    still precedes everything that needs it. So runs that share views end up in the same list, although those whose
    learning rate is tuned have one input more.

    Args:
        artefacts: what is wanted.
        scale: the name of the scale.
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
    """Artefacts grouped by their maker, in the order of the first of each group."""
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
    check([source for artefact in group for source in artefact.inputs()], context)
    code.hold()
    if maker.collective or _is_first():
        maker.make(group, context)
    # If the first process fails, torchrun ends the others.
    while not all(artefact.path(context.scale).exists() for artefact in group) and not _is_first():
        time.sleep(0.5)
