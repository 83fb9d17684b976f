"""Texts for messages: what a wrong value should be instead of pydantic's words for it, counts, parts of commands."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from dpmix.errors import nearest

_PLAIN = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
}


def should_be(errors: Sequence[Mapping[str, Any]]) -> str:
    """What a value should be, and what to write instead.

    Args:
        errors: pydantic's errors for one value, one for each type that it may have.

    >>> should_be([{"type": "tuple_type", "msg": "Input should be a valid tuple", "input": "1, 2, 3"}])
    "should be a list, not '1, 2, 3'; write [1, 2, 3]"
    """
    value = errors[0].get("input")
    expected = dict.fromkeys(
        _PLAIN.get(one["type"], re.sub("^(Input should be |Value error, )", "", one["msg"])) for one in errors
    )
    given = "" if isinstance(value, dict | list | tuple) else f", not {value!r}"
    return f"should be {' or '.join(expected)}{given}{_remedy(value, errors)}"


def _remedy(value: Any, errors: Sequence[Mapping[str, Any]]) -> str:
    if isinstance(value, str | int | float) and {one["type"] for one in errors} & {"tuple_type", "list_type"}:
        return f"; write [{value}]"
    words = [word for one in errors if one["type"] == "literal_error" for word in re.findall(r"'([^']*)'", one["msg"])]
    close = nearest(str(value), words)
    return f"; did you mean {close[0]!r}?" if close else ""


def counted(number: int, noun: str) -> str:
    """A count with its noun, which is in the plural unless the count is 1.

    >>> counted(1, "table"), counted(0, "run")
    ('1 table', '0 runs')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def argument(path: object) -> str:
    """A path as an argument of a command that is printed: one word, and no option, when it is pasted into a shell.

    >>> argument("my images"), argument("-new"), argument("~old")
    ("'my images'", './-new', "'./~old'")
    """
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith(("-", "~")) else text)
