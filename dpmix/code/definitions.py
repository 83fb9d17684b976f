"""Modules as definitions: what each top-level name of a module is made by, and which other names it uses.

Names are followed as they are written: through imports, also those inside functions and of modules, and through texts
that say `dpmix.module:name`. What a definition does not name it cannot use, but for what a registry stands for
(`dpmix.code.entries`).
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dpmix.code.trees import computing, documented, words
from dpmix.errors import DpmixError

_PLACE = re.compile(r"dpmix(?:\.\w+)+(?::\w+)?")


class Name(NamedTuple):
    """A name at the top level of a module; "" is whatever else is done when the module is imported, "*" all of it.

    Attributes:
        module: such as `dpmix.views.mixing`.
        name: such as `make_views`.
        attribute: of it that is used, which matters if it is a module; "" for the thing itself.
    """

    module: str
    name: str
    attribute: str = ""


@dataclass
class Definition:
    """What a name is made by.

    Attributes:
        words: of its syntax trees.
        uses: the names that it uses.
        lines: the first and last line of each of its statements.
    """

    words: list[str] = field(default_factory=list)
    uses: set[Name] = field(default_factory=set)
    lines: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Module:
    """A module: its definitions in their order, and what its imported names stand for."""

    definitions: dict[Name, Definition] = field(default_factory=dict)
    imports: dict[Name, Name] = field(default_factory=dict)


def syntax(path: Path) -> ast.Module:
    """A file's syntax tree.

    Raises:
        DpmixError: if it is no Python, as after an edit that is half done.
    """
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise DpmixError(f"{path} is no Python: {error.msg} (line {error.lineno}); mend it") from error


def module_of(name: str, path: Path) -> Module:
    """A module's definitions and imports; what is imported for types alone is none of them.

    Args:
        name: such as `dpmix.views.mixing`.
        path: its file.

    Raises:
        DpmixError: if the file is no Python.
    """
    found = Module()
    tree = syntax(path)
    for statement in tree.body[1:] if documented(tree) else tree.body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING" and not statement.orelse:
            continue
        if imported := imports_of(statement):
            found.imports |= {Name(name, bound): source for bound, source in imported.items()}
            continue
        for defined in names_of(statement):
            one = found.definitions.setdefault(Name(name, defined), Definition())
            one.words += words(statement)
            one.uses |= used(statement, name)
            # A decorator stands above the line of its function.
            first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", []))])
            one.lines.append((first, statement.end_lineno or statement.lineno))
    return found


def imports_of(statement: ast.AST) -> dict[str, Name]:
    """The names that an import binds, and what they stand for; none for what imports a module of this package whole."""
    if isinstance(statement, ast.ImportFrom):
        return {alias.asname or alias.name: Name(statement.module or "", alias.name) for alias in statement.names}
    if isinstance(statement, ast.Import) and not any(alias.name.startswith("dpmix.") for alias in statement.names):
        return {alias.asname or alias.name.partition(".")[0]: Name(alias.name, "") for alias in statement.names}
    return {}


def names_of(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement defines; one of "" for a statement that does something else."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = [one for each in statement.targets for one in (each.elts if isinstance(each, ast.Tuple) else [each])]
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    names = [one.id for one in targets if isinstance(one, ast.Name)]
    return names if names and len(names) == len(targets) else [""]


def used(node: ast.AST, module: str) -> set[Name]:
    """The names that a part of a module uses."""
    found, within = set[Name](), dict[str, Name]()
    inside = list(computing(node))
    for one in inside:
        if isinstance(one, ast.ImportFrom):
            within |= imports_of(one)
            # Also what it imports: after `try: from … import one` at the top of a module, others use its name.
            found |= {Name(one.module or "", ""), *imports_of(one).values()}
        elif isinstance(one, ast.Import):
            within |= imports_of(one)
            found |= {Name(alias.name, "*") for alias in one.names}
        elif isinstance(one, ast.Constant) and isinstance(one.value, str) and _PLACE.fullmatch(one.value):
            place, _, name = one.value.partition(":")
            found.add(Name(place, name or "*"))
    of_attributes = {id(one.value): one.attr for one in inside if isinstance(one, ast.Attribute)}
    for one in inside:
        if isinstance(one, ast.Name):
            # Another method of the same class may import the name of what stands in the module.
            here = Name(module, one.id)
            for source in {within.get(one.id, here), here}:
                found.add(source._replace(attribute=of_attributes.get(id(one), "")))
    return found


class Graph:
    """All definitions of some modules, and which use which.

    Attributes:
        definitions: by their names, each module's in their order.
    """

    def __init__(self, modules: Mapping[str, Path]) -> None:
        self.definitions: dict[Name, Definition] = {}
        self._imports: dict[Name, Name] = {}
        self._of: dict[str, list[Name]] = {}
        for module, path in modules.items():
            one = module_of(module, path)
            self.definitions |= one.definitions
            self._imports |= one.imports
            self._of[module] = list(one.definitions)

    def of(self, module: str) -> list[Name]:
        """The names of a module in their order; none of one that is not among these."""
        return self._of.get(module, [])

    def meant(self, name: Name) -> Iterator[Name]:
        """The definitions that a used name stands for; none if it is not of these modules."""
        plain, whole = name._replace(attribute=""), f"{name.module}.{name.name}"
        if name.name == "*":
            yield from self.of(name.module)
        elif plain in self.definitions:
            yield plain
            yield from self._rest(name.module)
        elif plain in self._imports:
            yield from self.meant(self._imports[plain]._replace(attribute=name.attribute))
            yield from self._rest(name.module)
        elif whole in self._of:
            yield from self.meant(Name(whole, name.attribute or "*"))
            yield from self._rest(whole)
        else:
            yield from self._rest(name.module)

    def outside(self, one: Definition) -> list[str]:
        """What a definition uses that is imported, as words: the same name may come to stand for something else."""
        plain = {name._replace(attribute="") for name in one.uses}
        return sorted(f"{name.name}={':'.join(self._imports[name][:2])}" for name in plain if name in self._imports)

    def _rest(self, module: str) -> Iterator[Name]:
        if (rest := Name(module, "")) in self.definitions:
            yield rest
