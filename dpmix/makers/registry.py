"""Who makes which kind of artefact.

A maker is a function that writes all artefacts that it is given, each whole or not at all:

    @maker(ImageStore)
    def make_image_stores(stores: Sequence[ImageStore], context: Context) -> None:
        for store in stores:
            prepare(store.dataset, store.resolution, context.raw, store.path(context.scale).parent)

It may rely on the artefacts' inputs being there; where one is not, it says so in one line. It is given all that can be
made at the same time, to share what costs: views, a model's start. Heavy imports stay inside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dpmix.artefacts.base import Artefact
from dpmix.errors import ParamsError
from dpmix.execution import Execution


@dataclass(frozen=True)
class Context:
    """What a maker is told besides what to make.

    Attributes:
        scale: of the params, below whose folder results lie.
        execution: on which device, how much at a time.
        raw: the folder of downloaded and unpacked data sets.
    """

    scale: str
    execution: Execution = field(default_factory=Execution)
    raw: Path = Path("data/raw")


Make = Callable[[Sequence[Any], Context], None]
Function = TypeVar("Function", bound=Make)


@dataclass(frozen=True)
class Maker:
    """A registered maker.

    Attributes:
        make: the function.
        collective: whether all processes that torchrun started call it alike, to share the work.
    """

    make: Make
    collective: bool


_MAKERS: dict[type[Artefact], Maker] = {}


def maker(*kinds: type[Artefact], collective: bool = False) -> Callable[[Function], Function]:
    """Register the decorated function as the maker of these kinds, which it makes together."""

    def register(make: Function) -> Function:
        _MAKERS.update(dict.fromkeys(kinds, Maker(make, collective)))
        return make

    return register


def maker_of(kind: type[Artefact]) -> Maker:
    """The maker of a kind.

    Raises:
        ParamsError: if none is registered.
    """
    if kind not in _MAKERS:
        raise ParamsError(f"nothing makes a {kind.__name__}; register its maker with @dpmix.makers.registry.maker")
    return _MAKERS[kind]
