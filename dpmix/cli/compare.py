"""`dpmix compare`: methods × ε on images of one's own; research, not for release."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dpmix.cli.options import options
from dpmix.errors import ParamsError, suggestion


@options(
    "epsilon methods seeds output tune synthetic delta unit test_share key skip_damaged encoder side batch_size epochs "
    "clip_norm device"
)
def compare(
    images: Annotated[list[str], typer.Argument(help="Folder, zip or CSV of images.", metavar="IMAGES")],
    epsilon: Annotated[list[float] | None, typer.Option(help="Values of ε; by default 1 2 4 8.")] = None,
    methods: Annotated[list[str] | None, typer.Option(help="Of self-aug, dp-mix-self, dp-mix-diff.")] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each.")] = 3,
    output: Annotated[Path | None, typer.Option(help="Default IMAGES-comparison.")] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Choose rates on held-out images.")] = False,
    **shared: Any,
) -> None:
    """Compare methods with seeds: dpmix compare my-images --epsilon 1 4 --methods self-aug dp-mix-self.

    For research: it is seeded and reads the test images, and no ε covers it.
    """
    from dpmix.own.research import compare as own
    from dpmix.own.research.comparison import EPSILONS, METHODS

    place, values, names = _sorted_out(images, epsilon, methods, tuple(METHODS))
    made = own.compare(
        place, epsilon=values or EPSILONS, methods=names, seeds=seeds, output=output, tune=tune, **shared
    )
    typer.echo(made)


def _sorted_out(
    words: list[str], epsilon: list[float] | None, methods: list[str] | None, known: tuple[str, ...]
) -> tuple[str, list[float] | None, list[str] | None]:
    """Images, values of ε and methods: of several values of an option, all but the first come as arguments.

    Raises:
        ParamsError: unless one word is left for the images.
    """
    places: list[str] = []
    epsilon, methods = list(epsilon or []), list(methods or [])
    for word in words:
        if methods and word in known:
            methods.append(word)
        elif epsilon and _is_number(word):
            epsilon.append(float(word))
        else:
            places.append(word)
    if not places:
        raise ParamsError("no images are named; name their folder first: dpmix compare my-images --epsilon 1 4")
    if len(places) > 1:
        near = suggestion(places[1], known) if methods else "name one folder, and values behind their options"
        raise ParamsError(f"{places[1]} is neither an option's value nor the images, which are {places[0]}; {near}")
    return places[0], epsilon or None, methods or None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
