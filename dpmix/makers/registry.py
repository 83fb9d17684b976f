"""The registry of makers, which says for each kind of artefact the function that makes it.

A maker writes the files of all artefacts that it is given, each whole or not at all:

    @maker(ImageStore)
    def make_image_stores(stores: Sequence[ImageStore], context: Context) -> None:
        for store in stores:
            prepare(store.dataset, store.resolution, context.raw, store.path(context.scale).parent)

The inputs of the artefacts exist when it is called; if one is missing or damaged, it raises a `DpmixError` of one line.
It is given all artefacts of its kinds that can be made at the same time, so that they can share views or a loaded
model. Imports of torch and other large libraries stand inside the function, so that `dpmix --help` stays fast.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dpmix.artefacts.base import Artefact
from dpmix.data import origin
from dpmix.errors import ParamsError
from dpmix.execution import Execution
from dpmix.seals import check_made


@dataclass(frozen=True)
class Context:
    """What a maker needs to know besides the artefacts.

    Attributes:
        scale: the name of the scale; results lie in `results/<scale>`.
        execution: how to compute: device, batch sizes, precision.
        raw: the folder of downloaded and unpacked data sets.
    """

    scale: str
    execution: Execution = field(default_factory=Execution)
    raw: Path = Path("data/raw")


Make = Callable[[Sequence[Any], Context], None]
Check = Callable[[Any, Context], None]
Function = TypeVar("Function", bound=Make)


@dataclass(frozen=True)
class Maker:
    """A registered maker.

    Attributes:
        make: the function.
        collective: whether under torchrun every process calls it, to share the work; if not, the first one does.
        check: raises a `DataError` if the files of one artefact are damaged, or it was made of what has changed since.
    """

    make: Make
    collective: bool
    check: Check


_MAKERS: dict[type[Artefact], Maker] = {}


def check_files(artefact: Artefact, context: Context) -> None:
    """Check an artefact's files against the digests that were written with them, and the images that it was made of.

    Raises:
        DataError: if a file is missing or damaged (`dpmix.seals`), or the images have changed (`dpmix.data.origin`).
    """
    path = artefact.path(context.scale)
    check_made(path)
    origin.check(path.parent)


def maker(
    *kinds: type[Artefact], collective: bool = False, check: Check = check_files
) -> Callable[[Function], Function]:
    """A decorator that registers a function as the maker of these kinds of artefact.

    Args:
        kinds: classes of artefacts. Artefacts of all of them are given to one call.
        collective: whether under torchrun every process calls the function, to share the work.
        check: what is called with each artefact and a `Context` before a job uses it.
    """

    def register(make: Function) -> Function:
        _MAKERS.update(dict.fromkeys(kinds, Maker(make, collective, check)))
        return make

    return register


def maker_of(kind: type[Artefact]) -> Maker:
    """The maker of a kind of artefact.

    Raises:
        ParamsError: if none is registered.
    """
    if kind not in _MAKERS:
        raise ParamsError(f"nothing makes a {kind.__name__}; register its maker with @dpmix.makers.registry.maker")
    return _MAKERS[kind]
