"""A validation error of `params.yaml` as one line: the place, what is wrong, and what to write instead."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import (
    BaseModel,
    ValidationError,
)

from dpmix.errors import suggestion
from dpmix.params.keys import NAME_RULE
from dpmix.params.scales import Params
from dpmix.params.tables import TABLE_NAME, TableSpec, table_kinds
from dpmix.wording import should_be


def explained(error: ValidationError, raw: dict[Any, Any]) -> str:
    """The first mistake as one line, with its place in the file and the number of further places with mistakes.

    Args:
        error: what pydantic raised for `Params`.
        raw: the mapping that was validated, as read from YAML.
    """
    # A misspelt key gives two errors, an unknown key and a missing one. Report the unknown one, which the user wrote.
    errors = sorted(_own(error.errors(include_url=False), raw), key=lambda one: one["type"] != "extra_forbidden")
    first = errors[0]
    places = list(dict.fromkeys(_place(one, raw) for one in errors))
    # A value that may have several types and has none of them gives one error for each type, all at one place.
    here = [one for one in errors if _place(one, raw) == places[0]]
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    place, value = ".".join(places[0]), first.get("input")
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        what = f"unknown key; {suggestion(name, _keys_beside(first['loc'], raw))}"
    elif first["loc"][-1] == "[key]":
        what = _of_key(first)
    elif first["type"] == "missing":
        what = "is needed, but not there; add it"
    elif first["type"] == "union_tag_invalid":
        kinds = re.findall("'([^']+)'", first["ctx"]["expected_tags"])
        what = f"unknown kind {first['ctx']['tag']!r}; {suggestion(str(first['ctx']['tag']), kinds)}"
    elif first["type"] == "union_tag_not_found":
        what = "kind is needed, but not there; add it"
    elif first["type"] in ("dict_type", "model_type", "model_attributes_type"):
        what = "should be a mapping"
    elif first["type"] in ("too_short", "string_too_short"):
        what = "should not be empty" if isinstance(value, str) else "should have at least one entry"
    elif len(here) > 1 and len({one["type"] for one in here}) > 1:
        what = should_be(here)
    elif first["type"] == "value_error":
        what = first["msg"].removeprefix("Value error, ")
    elif first["msg"].startswith("Input should be "):
        what = should_be(here)
    else:
        what = f"{first['msg']}, not {value!r}"
    return f"params.yaml: {place}: {what}{more}"


def _own(errors: Sequence[Any], raw: Any) -> list[Any]:
    """The errors without those that only follow from another one.

    A list is also said to be too short if its only entry is wrong; an entry's name, which is its key, to be wrong
    beside the key; and a mapping with a wrong entry, where a number would do as well, to be no number.
    """
    keys = {one["loc"][:-1] for one in errors if one["loc"][-1] == "[key]"}
    places = [_place(one, raw) for one in errors]
    within = {place[:end] for place in places for end in range(len(place))}
    return [
        one
        for one, place in zip(errors, places, strict=True)
        if not (one["loc"][-1] == "name" and any(one["loc"][: len(key)] == key for key in keys))
        and not (place in within and one["type"] == "too_short")
        and not (place in within and (one["type"].endswith("_type") or one["type"] == "literal_error"))
    ]


def _of_key(error: Mapping[str, Any]) -> str:
    """What is wrong with a key, and how to mend it."""
    mapping = error["loc"][-3] if len(error["loc"]) > 2 else ""
    if error["type"] == "string_type":
        return f"the key is read as {error['input']!r}, which is not text; write it in quotes"
    if error["type"] == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] in ("string_pattern_mismatch", "string_too_long"):
        if mapping != "tables":
            return f"{NAME_RULE}; rename it"
        name = str(error["input"])
        other = name.replace("-", "_")
        words = "lower-case words joined by underscores (at most 60 characters)"
        rule = f"a table is named 1 to 13, as the paper's, or by {words}"
        if other != name and re.fullmatch(TABLE_NAME, other):
            return f"{rule}; write {other}"
        return f"{rule}, such as my_clipping; rename or remove it"
    if mapping == "figures":
        return "the paper has no such figure, only 1 and 2; rename or remove it"
    return f"the key {should_be([error])}"


def _place(error: Mapping[str, Any], raw: Any) -> tuple[str, ...]:
    """The keys that lead to a mistake in the file, without the names that pydantic adds for alternatives of a union."""
    place, here = [], raw
    location = error["loc"]
    for index, part in enumerate(location):
        if index + 2 == len(location) and location[-1] == "[key]":
            part = error["input"]  # the key itself, of which the location may have another form
        inside = isinstance(here, dict) and part in here
        if inside or (isinstance(here, list | tuple) and isinstance(part, int) and part < len(here)):
            here = here[part]
        elif error["type"] != "missing" or index < len(location) - 1:
            continue
        place.append(str(part))
    return tuple(place)


def _keys_beside(location: tuple[int | str, ...], raw: Any) -> list[str]:
    """The keys that are allowed where `location` ends in an unknown one, read from the pydantic models."""
    kinds: list[type[BaseModel]] = [Params]
    for part in location[:-1]:
        inner: list[type[BaseModel]] = []
        for kind in kinds:
            field = kind.model_fields.get(str(part))
            inner += models_in(field.annotation) if field is not None else []
        # Where `part` is no field (a key of a mapping, an index, the tag of a union), the models stay the same.
        kinds = inner or kinds
        tagged = [kind for kind in kinds if part in _tags(kind)]
        kinds = tagged or kinds
    names = dict.fromkeys(name for kind in kinds for name in kind.model_fields)
    return [name for name in names if name != "name"]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models that a field's type mentions."""
    from typing import get_args

    if annotation is TableSpec:
        return list(table_kinds().values())
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def _tags(kind: type[BaseModel]) -> tuple[Any, ...]:
    from typing import get_args

    field = kind.model_fields.get("kind")
    return get_args(field.annotation) if field is not None else ()
