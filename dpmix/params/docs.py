"""docs/params.md, the reference of `params.yaml`, from the declarations: `python -m dpmix.params.docs` writes it."""

import json
import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

from dpmix.files import write_text
from dpmix.params.declared import Spec, declared
from dpmix.params.messages import models_in
from dpmix.params.scales import Params
from dpmix.params.schema import schema
from dpmix.params.settings import RunSettings, Settings

PAGE = Path("docs/params.md")

_HEAD = """\
<!-- Derived by `python -m dpmix.params.docs` from dpmix/params; a test keeps it fresh. -->
# `params.yaml`, key by key

Every key of [`params.yaml`](../params.yaml): what it may be, what it is where nothing is said, and what it does. The
last column says whether another value makes another result. A result's path ends in a hash of all that determines it,
so such a value is a new path, and exactly the runs that it touches are made; any other may change without a run being
made again. [`tables.md`](tables.md) has examples of tables, [`choices.md`](choices.md) the reasons.

The file is YAML 1.2, read by one reader for `dpmix`, `snakemake` and `dvc`: `Yes`, `off` and `2024-01-31` are words,
`1e-3` is a number, keys are text as they are written, and a number where a text is wanted is that text. Beside texts
with signs of YAML's own, only `true`, `false` and `null` need quotes to be texts. A key that is there twice is refused.
"""

_COLUMNS = "| Key | Type | Default | Unit | What it is | Determines the result |\n| --- | --- | --- | --- | --- | --- |"

_OF_SETTINGS = """\
Scales (`scratch`, `finetune`, `datasets`, `dataset_methods`), methods, tables and figures may each give any of them.
The later wins: the scale's for the kind of model, the data set's, the method's, those of the method on the data set,
the table's `fixed`, its row's, its column's. What none gives has the default; what has none must be given somewhere.
"""


def specs(kind: type[Spec] = Params) -> dict[str, type[Spec]]:
    """Every part of `params.yaml` as a class, by the class's name, in the order in which the parts hold each other."""
    found: dict[str, type[Spec]] = {kind.__name__: kind}
    for field in kind.model_fields.values():
        for inside in models_in(field.annotation):
            if inside.__name__ not in found and issubclass(inside, Spec):
                found.update({name: one for name, one in specs(inside).items() if name not in found})
    return found


def text() -> str:
    """The page as Markdown."""
    derived, kinds = schema(), specs()
    definitions: dict[str, Any] = {**derived["$defs"], Params.__name__: derived}
    titles = _titles(definitions, kinds)
    parts = [_HEAD]
    for name, title in titles.items():
        kind = kinds[name]
        about = _OF_SETTINGS if kind is Settings else f"{cleandoc(kind.__doc__ or '')}\n"
        if kind is not Settings and issubclass(kind, Settings):
            about += f"\nAlso any of the [settings](#{_slug(titles[Settings.__name__])}).\n"
        rows = "\n".join(_rows(kind, definitions[name], titles))
        parts.append(f"## {title}\n\n{about}\n{_COLUMNS}\n{rows}\n")
    return "\n".join(parts)


def _titles(definitions: dict[str, Any], kinds: dict[str, type[Spec]]) -> dict[str, str]:
    """The heading of each part's section, by the class's name, in the order of the file: where it stands in it."""
    places: dict[str, str] = {}

    def visit(name: str, place: str) -> None:
        places[name] = place
        for key, node in definitions[name]["properties"].items():
            for inside, where in _references(node, f"{place}.{key}".removeprefix(".")):
                if inside not in places:
                    visit(inside, where)

    visit(Params.__name__, "")
    titles: dict[str, str] = {}
    for name, place in places.items():
        title = f"`{place}`" if place else "The file"
        if kinds[name] is Settings:
            title = "Settings of a run"
        elif list(places.values()).count(place) > 1:
            properties = definitions[name]["properties"]
            of_kind = properties.get("kind", {}).get("const")
            first = next(key for key in properties if key != "name")
            title += f", `kind: {of_kind}`" if of_kind else f" with `{first}`"
        titles[name] = title
    return titles


def _references(node: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    """The parts that a value may hold, by the class's name, and where they then stand."""
    if "$ref" in node:
        yield node["$ref"].rpartition("/")[2], place
    for alternative in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _references(alternative, place)
    if node.get("type") == "object":
        yield from _references(_entry(node), f"{place}.<name>")
    if "items" in node:
        yield from _references(node["items"], place)


def _rows(kind: type[Spec], definition: dict[str, Any], titles: dict[str, str]) -> Iterator[str]:
    """A line of the table for each key of a part."""
    for name, field in kind.model_fields.items():
        # An entry's name is its key; a method's settings have a section of their own.
        if name == "name" or (kind is not Settings and issubclass(kind, Settings) and name in Settings.model_fields):
            continue
        said = declared(field)
        determines = ("yes" if said.determines else "no") + (f", unless {said.unless}" if said.unless else "")
        default = "needed" if name in definition.get("required", ()) else _shown(definition["properties"][name])
        if kind is Settings:
            of_run = RunSettings.model_fields.get(name)
            default = "must be given" if of_run is None or of_run.is_required() else _value(of_run.default)
        of_type = _words(definition["properties"][name], titles)
        cells = (f"`{name}`", of_type, default, said.unit, field.description or "", determines)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _shown(node: dict[str, Any]) -> str:
    default = node.get("default")
    # Of settings, all are unset by default.
    return "none" if default is None or (isinstance(default, dict) and not any(default.values())) else _value(default)


def _value(value: Any) -> str:
    """A value as it stands in YAML."""
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value, ensure_ascii=False)}`"


def _words(node: dict[str, Any], titles: dict[str, str]) -> str:
    """What a value may be, in plain words, from its JSON schema."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return f"[{'settings' if name == Settings.__name__ else 'mapping'}](#{_slug(titles[name])})"
    if alternatives := node.get("anyOf") or node.get("oneOf"):
        return _either([_words(one, titles) for one in alternatives if one.get("type") != "null"])
    if values := node.get("enum") or ([node["const"]] if "const" in node else None):
        return _either([f"`{value}`" for value in values])
    of_type = node["type"]
    if of_type == "array":
        return f"list of {_plural(_words(node['items'], titles))}" + (", at least one" if node.get("minItems") else "")
    if of_type == "object":
        return f"mapping to {_plural(_words(_entry(node), titles))}"
    words = {"string": "text", "boolean": "true or false", "integer": "whole number", "number": "number"}[of_type]
    return f"{words} {_bounds(node)}".rstrip()


def _entry(node: dict[str, Any]) -> dict[str, Any]:
    """The schema of a mapping's entries, whatever pattern their names have."""
    (entry,) = node["patternProperties"].values() if "patternProperties" in node else [node["additionalProperties"]]
    return dict(entry)


def _bounds(node: dict[str, Any]) -> str:
    """The bounds of a number: > 0, ≥ 0, in (0, 1]."""
    above, least = node.get("exclusiveMinimum"), node.get("minimum")
    below, most = node.get("exclusiveMaximum"), node.get("maximum")
    if below is None and most is None:
        return f"> {above}" if above is not None else f"≥ {least}" if least is not None else ""
    end = "2³²" if below == 2**32 else f"{most if below is None else below:g}"
    start = f"{least if above is None else above:g}"
    return f"in {'[' if above is None else '('}{start}, {end}{']' if below is None else ')'}"


def _plural(words: str) -> str:
    return re.sub(r"\b(number|text|mapping)\b", r"\1s", words)


def _either(words: list[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _slug(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    return "".join(one for one in title.lower().replace(" ", "-") if one.isalnum() or one in "-_")


if __name__ == "__main__":
    write_text(PAGE, text())
