"""What is registered under a name, such as a transform or a clipping mode: code of its own, which only its users run.

An entry's code is what its definition uses and nothing that is no entry uses. All else in the rooms is shared: so an
entry that is added, changed or taken away is a matter of those artefacts that say they use it (`Artefact.entries`), and
of no others. What stands in a registry but is used by name elsewhere, as a default is, stays shared code.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dpmix.code.definitions import Definition, Graph, Name, syntax, used
from dpmix.code.trees import words
from dpmix.errors import DpmixError

# Dicts at the top level of modules, from names to code.
REGISTRIES = {
    "CLIPPING_MODES": "params.registries",
    "DATA_SETS": "params.registries",
    "ENCODER_LIBRARIES": "params.registries",
    "ENGINES": "params.registries",
    "INDEX_TRANSFORMS": "views.transforms",
    "MIXING_MODES": "params.registries",
    "PIXEL_TRANSFORMS": "views.transforms",
    "RECIPES": "models.small_encoders",
    "TRAINERS": "training.runner",
}
# Attributes of classes in a module: each class is an entry, and the attribute says where its code is.
OF_CLASSES = {"module": "params.models", "jax_logits": "params.models"}


class Entry(NamedTuple):
    """What a registry holds under a name: the words of what stands there, and what that uses."""

    words: tuple[str, ...]
    uses: frozenset[Name]


def entry(registry: str, name: str) -> str:
    """What an entry is called in digests.

    >>> entry("CLIPPING_MODES", "flat")
    'CLIPPING_MODES:flat'
    """
    return f"{registry}:{name}"


def registered(package: Path) -> dict[str, Entry]:
    """All entries of all registries, by what they are called.

    Args:
        package: this package's folder, or that of a copy.

    Raises:
        DpmixError: for a registry that is no dict whose keys are written down.
    """
    found = {}
    for place in sorted({*REGISTRIES.values(), *OF_CLASSES.values()}):
        module = f"dpmix.{place}"
        for statement in syntax(package.joinpath(*place.split(".")).with_suffix(".py")).body:
            for registry, name, value in _of(statement, place):
                found[entry(registry, name)] = Entry(tuple(words(value)), frozenset(used(value, module)))
    return found


def _of(statement: ast.stmt, place: str) -> Iterator[tuple[str, str, ast.expr]]:
    """The entries in a top-level statement of a module: registry, name and value of each."""
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            if isinstance(target, ast.Name) and REGISTRIES.get(target.id) == place:
                yield from ((target.id, name, value) for name, value in _pairs(statement, f"{place}.{target.id}"))
    elif isinstance(statement, ast.ClassDef):
        for inner in statement.body:
            if (
                isinstance(inner, ast.AnnAssign)
                and isinstance(inner.target, ast.Name)
                and OF_CLASSES.get(inner.target.id) == place
                and isinstance(inner.value, ast.Constant)
            ):
                yield inner.target.id, statement.name, inner.value


def _pairs(statement: ast.Assign | ast.AnnAssign, registry: str) -> Iterator[tuple[str, ast.expr]]:
    """What a registry's dict has: what is not written down under a name would be no entry's, and not shared."""
    said = statement.value
    names = [key.value for key in said.keys if isinstance(key, ast.Constant)] if isinstance(said, ast.Dict) else []
    if not isinstance(said, ast.Dict) or len(names) < len(said.keys):
        raise DpmixError(
            f"dpmix.{registry} (line {statement.lineno}) is no dict whose keys are written down, so that its entries "
            f"have no digests; write each as one line of it"
        )
    yield from zip(map(str, names), said.values, strict=True)


class Shares:
    """Which definition is shared, and which belong to entries.

    Args:
        modules: the files of modules whose code counts, by their names.
        describing: those of modules that use it and compute nothing, with the registries; what they use is shared.
        package: the package's folder.

    Attributes:
        shared: the definitions that any artefact of their room may use.
        owned: by each entry, the definitions that only it and other entries use.
    """

    def __init__(self, modules: Mapping[str, Path], describing: Mapping[str, Path], package: Path) -> None:
        self._graph = graph = Graph({**modules, **describing})
        self._entries = registered(package)
        for registry, place in REGISTRIES.items():
            # What stands in it is the entries'.
            graph.definitions[Name(f"dpmix.{place}", registry)] = Definition([registry])
        for called, entered in self._entries.items():
            registry, _, kind = called.partition(":")
            if registry in OF_CLASSES:
                graph.definitions[Name(f"dpmix.{OF_CLASSES[registry]}", kind)].uses -= entered.uses
        self._next = {name: self._meant(one.uses) - {name} for name, one in graph.definitions.items()}
        starts = {called: self._meant(entered.uses) for called, entered in self._entries.items()}
        of_entries = self._closed(set[Name]().union(*starts.values()))
        # In a module that nothing else imports, what no name leads to is also the entries'.
        while whole := self._theirs(of_entries):
            for module in whole:
                names = set(graph.of(module))
                self._next |= {name: self._next[name] | names - of_entries for name in names & of_entries}
            of_entries = self._closed(of_entries)
        self.shared = self._closed(graph.definitions.keys() - of_entries)
        self.owned = {
            called: {name for name in self._closed(names) - self.shared if name.module in modules}
            for called, names in starts.items()
        }

    def _meant(self, uses: Iterable[Name]) -> set[Name]:
        return {name for use in uses for name in self._graph.meant(use)}

    def _closed(self, names: Iterable[Name]) -> set[Name]:
        seen, left = set[Name](), list(names)
        while left:
            if (name := left.pop()) not in seen:
                seen.add(name)
                left += self._next[name]
        return seen

    def _theirs(self, of_entries: set[Name]) -> set[str]:
        """Modules of which entries use a part, and nothing else any; those of which they use all are left out."""
        touched = {name.module for name in of_entries}
        by_others = {
            other.module for name in self._next.keys() - of_entries for other in self._next[name]
            if other.module != name.module
        }  # fmt: skip
        return {module for module in touched - by_others if not of_entries.issuperset(self._graph.of(module))}

    def of_room(self, module: str) -> list[str]:
        """The words of a module's shared definitions."""
        return self._words(name for name in self._graph.of(module) if name in self.shared)

    def of_entry(self, called: str) -> list[str]:
        """The words of an entry, and of all that is its own."""
        own = self.owned[called]
        return [*self._entries[called].words, *self._words(name for name in self._graph.definitions if name in own)]

    @property
    def entries(self) -> list[str]:
        """What all entries are called."""
        return sorted(self._entries)

    def _words(self, names: Iterable[Name]) -> list[str]:
        said = []
        for name in names:
            one: Definition = self._graph.definitions[name]
            said += [":".join(name[:2]), *one.words, *self._graph.outside(one)]
        return said

    def at(self, module: str, line: int) -> list[str] | None:
        """Whose the code at a line of a module is: the entries', or none's if it is shared; None if it is nobody's."""
        for name in self._graph.of(module):
            if any(first <= line <= last for first, last in self._graph.definitions[name].lines):
                return [] if name in self.shared else [one for one, own in self.owned.items() if name in own]
        return None
