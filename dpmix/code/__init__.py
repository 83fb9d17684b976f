"""Which code a result is of: digests of the rooms of this package that compute it, and of what it uses in them by name.

A digest is that of syntax trees, without comments, docstrings, annotations, the texts of errors and the layout: what
does not compute changes nothing. A room's is that of its shared code; what is registered under a name, such as a
transform, has one of its own (`dpmix.code.entries`). `code.json` has the digests of the code whose results are named by
their parameters alone. Where a room or an entry has another one, its digest is part of the names of all that it
computes, so that nothing which other code has made is taken for a result of this.

    python -m dpmix.code    # record the code as it is: its results are those of before
"""

import functools
import hashlib
import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from typing_extensions import override

from dpmix.code.definitions import syntax
from dpmix.code.entries import Shares, entry
from dpmix.code.trees import documented, words
from dpmix.errors import DpmixError
from dpmix.files import read_object, write_json

__all__ = ["ASIDE", "RECORD", "ROOMS", "as_recorded", "digests", "entry", "hold", "record", "shares", "unrecorded"]

_PACKAGE = Path(__file__).parents[1]
RECORD = _PACKAGE / "code.json"
# Rooms and modules that compute results, of which `code.json` has digests.
ROOMS = (
    "artefacts.plan_file",
    "artefacts.published_privacy",
    "artefacts.run_values",
    "data",
    "demo",
    "evaluation",
    "makers.data",
    "makers.models",
    "makers.runs",
    "models",
    "privacy",
    "random",
    "synthesis",
    "training",
    "views",
)
# Modules of these which only fetch, list, check or look after files, whose content has digests.
ASIDE = frozenset({"data/archives.py", "data/inspection.py", "data/manifest.py", "data/origin.py"})
# Rooms that describe, check and hand on: what they use of those above is shared code, but where they only name it.
_DESCRIBING = ("artefacts", "makers", "params", "release")
_NAMING = "artefacts/entries.py"


def digests(parts: Iterable[str]) -> dict[str, str]:
    """The digest of each of these parts: ten hex digits of the SHA-256 of its syntax trees.

    Args:
        parts: folders or modules of this package, such as `views` or `artefacts.plan_file`, and entries of registries
            (`entry`); an entry that there is not has none.

    Raises:
        DpmixError: if a file is no Python, as after an edit that is half done.
    """
    known = _parts()
    wanted = [part for part in sorted(set(parts)) if ":" not in part or part in known]
    return {part: known[part] if part in known else _showing(part) for part in wanted}


def unrecorded(parts: Iterable[str]) -> dict[str, str]:
    """The digests of those of these parts whose code is not the recorded one; none for a release."""
    return {part: said for part, said in digests(parts).items() if said != _record()["parts"].get(part)}


@functools.cache
def as_recorded() -> bool:
    """Whether all code that computes is the recorded one."""
    return _record()["bytes"] == _of_bytes() or _parts() == _record()["parts"]


def record() -> None:
    """Write all digests into `code.json`: results of the code as it is are named as before."""
    _forget()
    write_json(RECORD, {"bytes": _of_bytes(), "parts": _computed()})
    _forget()


@functools.cache
def hold() -> None:
    """From now on this process loads code of the rooms only as it was when results got their names by its digests.

    Results are named when a job begins, and much of what makes them is loaded later, torch first: without this an edit
    in between would make a result that is called as the code from before the edit calls it.

    Raises:
        DpmixError: if the code has been edited already, as an import does from now on; a comment is no edit.
    """
    _unchanged(_read.__wrapped__())
    modules = {_module(name): path for room in ROOMS for name, path in _every(room) if path.suffix == ".py"}
    sys.meta_path.insert(0, _AsNamed(modules))


class _AsNamed(MetaPathFinder):
    """Finds no module; it looks at those that are about to be loaded."""

    def __init__(self, modules: dict[str, Path]) -> None:
        self._modules = modules

    @override
    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if (file := self._modules.get(fullname)) and file.is_file():
            name = file.relative_to(_PACKAGE).as_posix()
            if _of_file(file) != _read().get(name):
                _unchanged({**_read(), name: _of_file(file)})


def _unchanged(now: dict[str, str]) -> None:
    """Check that files, of which digests are given, compute as those that results are named by."""
    known = _parts()
    if _digest_of(now) == _of_bytes():
        return
    shares.cache_clear()
    if _computed() != known:
        raise DpmixError(
            "the code has been edited since this process worked out what its results are called; start it again"
        )
    _read().update(now)


def _forget() -> None:
    for one in (_record, _read, _parts, _showing, as_recorded, shares):
        one.cache_clear()


@functools.cache
def shares() -> Shares:
    """Which code of the rooms is shared, and which is that of entries."""
    counted = {_module(name): path for room in ROOMS for name, path in _files(room) if path.suffix == ".py"}
    everything = {_module(name): path for room in (*ROOMS, *_DESCRIBING) for name, path in _every(room)}
    left_out = {*counted, _module(_NAMING)}
    rest = {name: path for name, path in everything.items() if path.suffix == ".py" and name not in left_out}
    return Shares(counted, rest, _PACKAGE)


@functools.cache
def _record() -> dict[str, Any]:
    if not RECORD.is_file():
        return {"bytes": "", "parts": {}}
    return read_object(RECORD, "install dpmix again, or put the file back", ("bytes", "parts"))


@functools.cache
def _parts() -> dict[str, str]:
    # Reading is a hundred times as fast as parsing.
    known: dict[str, str] = _record()["parts"] if _record()["bytes"] == _of_bytes() else _computed()
    return known


@functools.cache
def _showing(part: str) -> str:
    # Of a room that shows results, such as `tables`, which is asked for once for each table and figure.
    return _of_trees(part)


def _computed() -> dict[str, str]:
    found = {room: _of_trees(room) for room in ROOMS}
    return found | {one: _hash(shares().of_entry(one)) for one in shares().entries}


def _every(room: str) -> list[tuple[str, Path]]:
    place = _PACKAGE.joinpath(*room.split("."))
    found = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place.with_suffix(".py")]
    named = [(path.relative_to(_PACKAGE).as_posix(), path) for path in found if "__pycache__" not in path.parts]
    return sorted((name, path) for name, path in named if not path.name.startswith("."))


def _files(room: str) -> list[tuple[str, Path]]:
    return [(name, path) for name, path in _every(room) if name not in ASIDE]


def _module(name: str) -> str:
    return ".".join(("dpmix", *Path(name).with_suffix("").parts)).removesuffix(".__init__")


@functools.cache
def _read() -> dict[str, str]:
    """All files that decide on digests, with those of their bytes, when they are first asked for."""
    return {name: _of_file(path) for room in (*ROOMS, *_DESCRIBING) for name, path in _every(room)}


def _of_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _of_bytes() -> str:
    return _digest_of(_read())


def _digest_of(files: dict[str, str]) -> str:
    return hashlib.sha256("".join(f"{name}\0{said}\0" for name, said in files.items()).encode()).hexdigest()[:10]


def _of_trees(room: str) -> str:
    said = []
    for name, path in _files(room):
        if path.suffix != ".py":  # a template, or what the code reads
            said += [name, hashlib.sha256(path.read_bytes()).hexdigest()]
        elif room in ROOMS:
            said += shares().of_room(_module(name))
        else:
            said += [name, *_whole(path)]
    return _hash(said)


def _whole(path: Path) -> Iterable[str]:
    tree = syntax(path)
    return words(tree) if tree.body[int(documented(tree)) :] else ()


def _hash(said: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(said).encode(errors="surrogateescape")).hexdigest()[:10]
