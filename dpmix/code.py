"""Which code a result is of: digests of the rooms of this package that compute it.

A digest is that of syntax trees, without comments, docstrings, annotations, the texts of errors and the layout: what
does not compute changes nothing. `code.json` has the digests of the code whose results are named by their parameters
alone. Where a room has another one, its digest is part of the names of all that it computes, so that nothing which
other code has made is taken for a result of this.

    python -m dpmix.code    # record the code as it is: its results are those of before
"""

import ast
import functools
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from dpmix.errors import DpmixError
from dpmix.files import write_json

RECORD = Path(__file__).with_suffix(".json")
# Rooms and modules that compute results, of which `code.json` has digests.
ROOMS = (
    "artefacts.plan_file",
    "artefacts.published_privacy",
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

_PACKAGE = Path(__file__).parent
_BYTES, _TREES = "bytes", "trees"


def digests(rooms: Iterable[str]) -> dict[str, str]:
    """The digest of each of these rooms: ten hex digits of the SHA-256 of its syntax trees.

    Args:
        rooms: folders or modules of this package, such as `views` or `artefacts.plan_file`.

    Raises:
        DpmixError: if a file is no Python, as after an edit that is half done.
    """
    return {room: _digest(room) for room in sorted(set(rooms))}


def unrecorded(rooms: Iterable[str]) -> dict[str, str]:
    """The digests of those of these rooms whose code is not the recorded one; none for a release."""
    return {room: said for room, said in digests(rooms).items() if said != _record().get(room, {}).get(_TREES)}


def record(rooms: Iterable[str]) -> None:
    """Write the digests of these rooms into `code.json`: results of the code as it is are named as before."""
    write_json(RECORD, {room: {_BYTES: _of_bytes(room), _TREES: _of_trees(room)} for room in sorted(set(rooms))})
    _record.cache_clear()
    _digest.cache_clear()


@functools.cache
def _record() -> dict[str, dict[str, str]]:
    return json.loads(RECORD.read_bytes()) if RECORD.is_file() else {}


@functools.cache
def _digest(room: str) -> str:
    kept = _record().get(room, {})
    # Reading is a hundred times as fast as parsing.
    return kept[_TREES] if kept.get(_BYTES) == _of_bytes(room) else _of_trees(room)


def _files(room: str) -> list[tuple[str, Path]]:
    place = _PACKAGE.joinpath(*room.split("."))
    found = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place.with_suffix(".py")]
    named = [(path.relative_to(_PACKAGE).as_posix(), path) for path in found if "__pycache__" not in path.parts]
    return sorted((name, path) for name, path in named if name not in ASIDE and not path.name.startswith("."))


def _of_bytes(room: str) -> str:
    seen = hashlib.sha256()
    for name, path in _files(room):
        seen.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return seen.hexdigest()[:10]


def _of_trees(room: str) -> str:
    seen = hashlib.sha256()
    for name, path in _files(room):
        if path.suffix != ".py":  # a template, or what the code reads
            seen.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError as error:
            raise DpmixError(f"{path} is no Python: {error.msg} (line {error.lineno}); mend it") from error
        said = list(_words(tree))
        if said:  # an empty module is none
            seen.update(f"{name}\0".encode())
            seen.update("\0".join(said).encode(errors="surrogateescape"))
    return seen.hexdigest()[:10]


def _words(node: ast.AST) -> Iterator[str]:
    """A syntax tree as words, the same in every version of Python, without what does not compute."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _documented(node):
        node.body = node.body[1:]
    if isinstance(node, ast.Module) and not node.body:
        return
    yield f"({type(node).__name__}"
    for name, value in ast.iter_fields(node):
        if name in ("ctx", "kind", "type_comment", "type_ignores", "type_params", "returns"):
            continue
        # The annotations of a class are its fields; those of arguments and variables are notes.
        if name == "annotation" and isinstance(node, ast.arg):
            continue
        if isinstance(node, ast.Raise) and name == "exc" and isinstance(value, ast.Call):
            value = value.func
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, ast.AST):
                yield name
                yield from _words(one)
            elif one is not None:
                yield f"{name}={one!r}"
    yield ")"


def _documented(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


if __name__ == "__main__":
    record(ROOMS)
    print(f"{RECORD}: commit it", file=sys.stderr)
