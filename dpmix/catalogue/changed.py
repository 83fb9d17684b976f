"""Whether what is on disk was made of what is on disk: of these images, encoders and plans, and not of others.

Paths hold a hash of all parameters; what parameters name may change: a folder's images, or an encoder that was trained
or fetched again. So results hold the digests of their inputs (`dpmix.artefacts.made_of`).
"""

import contextlib
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import SyntheticSet
from dpmix.catalogue.catalogue import Catalogue
from dpmix.data import origin
from dpmix.errors import DataError, ParamsError
from dpmix.files import read_json
from dpmix.params.scales import Params
from dpmix.seals import SOURCE, check_made, seal_of


def refuse_changed(artefacts: Iterable[Artefact], scale: str, params: Params | None = None) -> None:
    """Check that what exists was made of what exists now: of these images, stores, encoders, plans and learning rates.

    Args:
        artefacts: any; of these and of all that they are made from, what exists is checked.
        scale: the name of the scale.
        params: if given, results of its other scales that were made of images that have changed are named too.

    Raises:
        DataError: for the first folder or archive of images that has changed, for results of which an input is another
            now, or for that input if it is damaged; one line that says what to delete.
    """
    found = _with_inputs(artefacts, scale)
    for path in found:
        if (path.parent / SOURCE).is_file():
            origin.check(path.parent, functools.partial(_made_of, path, found, scale, params))
    _refuse_of_others(found)


def _with_inputs(artefacts: Iterable[Artefact], scale: str) -> dict[Path, Artefact]:
    found: dict[Path, Artefact] = {}
    left = list(artefacts)
    while left:
        artefact = left.pop()
        path = Path(artefact.file(scale))
        if path not in found:
            found[path] = artefact
            left += artefact.inputs()
    return found


def _made_of(source: Path, found: Mapping[Path, Artefact], scale: str, params: Params | None) -> list[Path]:
    """What exists of all that is made of an artefact, directly or not: the folders and files to delete."""
    scales = {scale: list(found.values())}
    for other in params.scales if params else ():
        with contextlib.suppress(ParamsError):
            scales.setdefault(other, list(Catalogue(params, other).artefacts.values()))  # type: ignore[arg-type]
    return _places(
        _place(path, artefact)
        for other, artefacts in scales.items()
        for artefact in artefacts
        if (path := artefact.path(other)) != source and path.exists() and source in _with_inputs([artefact], other)
    )


def _refuse_of_others(found: Mapping[Path, Artefact]) -> None:
    seal = functools.cache(lambda source: seal_of(Path(source)))
    others: dict[str, list[Path]] = {}
    for path in sorted(found):
        for source, said in _inputs_said(path):
            if seal(source) not in (None, said):
                others.setdefault(source, []).append(path)
    for source in others:
        check_made(Path(source))  # what is damaged is no other one: it is the one to delete
    if others:
        source, results = next(iter(others.items()))
        more = f" and {len(results) - 1} more results were" if len(results) > 1 else " was"
        places = _places(_place(path, found[path]) for paths in others.values() for path in paths)
        raise DataError(
            f"{results[0]}{more} made of another {source} than is there now; put that back, or delete "
            f"{' and '.join(map(str, places))} and run the same command again"
        )


def _inputs_said(path: Path) -> Iterable[tuple[str, str]]:
    """The digests of its inputs that a result holds, by their paths; none if it is no result, damaged, or older."""
    with contextlib.suppress(DataError):
        values = read_json(path) if path.suffix == ".json" and path.is_file() else {}
        said = values.get("inputs") if isinstance(values, dict) else {}
        return said.items() if isinstance(said, dict) else ()
    return ()


def _place(path: Path, artefact: Artefact) -> Path:
    """What to delete of an artefact: the folder that is its own, or else its file.

    Of D the images stay, of which only the names of classes decide: those that are whole are not drawn again.
    """
    own = path.parent.name.endswith(artefact.hash) and not isinstance(artefact, SyntheticSet)
    return path.parent if own else path


def _places(wanted: Iterable[Path]) -> list[Path]:
    """The fewest files and folders below `results/<scale>` and `data` that hold these and nothing else."""
    found = set(wanted)
    for folder in sorted({above for path in found for above in path.parents}, key=lambda above: -len(above.parts)):
        inside = set(folder.iterdir())
        if inside <= found and len(folder.parts) > 2:
            found = (found - inside) | {folder}
    return sorted(found)
