"""Keys of `params.yaml`: each once in its mapping, as text; and the names among them that become part of paths."""

import math
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from dpmix.errors import ParamsError
from dpmix.params.written import WrittenInt

# Names become parts of the names of files, which take 255 bytes.
_LONGEST = 100


def _fits(name: str) -> str:
    if len(name.encode()) > _LONGEST:
        raise ValueError(f"{name} takes {len(name.encode())} bytes in UTF-8, more than {_LONGEST}; shorten it")
    return name


# Names of data sets, models, sources of D, methods and scales, which stand in paths, wildcards and command lines.
Name = Annotated[str, Field(pattern=r"^\w[\w.+-]*$", max_length=_LONGEST), AfterValidator(_fits)]

NAME_RULE = "a name has letters, digits and . _ + - only, and starts with a letter, digit or _ (at most 100 characters)"


def check_name(name: str, what: str) -> str:
    """Return a name if it can stand in a path.

    Args:
        name: what the user wrote.
        what: what the name stands for, such as "scale", for the message.

    Raises:
        ParamsError: if it is no `Name`.

    >>> check_name("my-scale", "scale")
    'my-scale'
    """
    try:
        return _names().validate_python(name)
    except ValidationError as error:
        raise ParamsError(f"{what} {name!r}: {NAME_RULE}; choose another") from error


@cache
def _names() -> TypeAdapter[str]:
    return TypeAdapter(Name)


def with_text_keys(value: Any, place: tuple[str, ...] = (), above: tuple[int, ...] = ()) -> Any:
    """A value of YAML, at any depth of which keys that are whole numbers are replaced by their text.

    Args:
        value: as read from YAML.
        place: the keys that lead to it in the file.
        above: for calls by itself: identities of the values that this one is inside of.

    Raises:
        ParamsError: if two keys of a mapping have the same text, or a value contains itself.

    >>> with_text_keys({"tables": {9: {"kind": "runtime"}}})
    {'tables': {'9': {'kind': 'runtime'}}}
    """
    if not isinstance(value, dict | list):
        return value
    if id(value) in above:
        raise ParamsError(f"params.yaml: {'.'.join(place)}: it contains itself; write out what it should be")
    above = (*above, id(value))
    if isinstance(value, list):
        return [with_text_keys(one, (*place, str(index)), above) for index, one in enumerate(value)]
    found: dict[Any, Any] = {}
    for key, inner in value.items():
        text = str(key) if isinstance(key, int) and not isinstance(key, bool) else key
        here = (*place, str(key))
        if isinstance(text, str) and not unicodedata.is_normalized("NFC", text):
            composed = unicodedata.normalize("NFC", text)
            raise ParamsError(
                f"params.yaml: {'.'.join(here)}: accents are letters of their own in it; write it composed: {composed}"
            )
        if text in found:
            raise ParamsError(f"params.yaml: {'.'.join(here)}: the key is there twice; rename or remove one")
        found[text] = with_text_keys(inner, here, above)
    return found


def number_of_key(key: Any) -> Any:
    """A key, which is text, with infinity as YAML writes it made the number; pydantic reads all other numbers itself.

    >>> number_of_key(".inf"), number_of_key("8")
    (inf, '8')
    """
    return math.inf if isinstance(key, str) and key.lower() in (".inf", "+.inf") else key


def refuse_what_was_bent(raw: Any, parsed: Any, place: tuple[str, ...] = ()) -> None:
    """Refuse values that pydantic took for others: `true` as 1, 1 as `true`, 010 as 10, and keys of the same number.

    Args:
        raw: a value of YAML.
        parsed: what pydantic made of it.
        place: the keys that lead to it in the file.

    Raises:
        ParamsError: for the first of these.
    """
    where = f"params.yaml: {'.'.join(place)}"
    if isinstance(parsed, bool) and not isinstance(raw, bool):
        raise ParamsError(f"{where}: should be true or false, not {raw!r}")
    if isinstance(raw, bool):
        if isinstance(parsed, int | float) and not isinstance(parsed, bool):
            raise ParamsError(f"{where}: should be a number, not {str(raw).lower()}")
    elif isinstance(raw, WrittenInt) and raw.in_doubt and not isinstance(parsed, str):
        raise ParamsError(f"{where}: {raw} is {raw!r} in YAML 1.2 and not in YAML 1.1; write {raw!r}, or what is meant")
    elif isinstance(raw, list) and isinstance(parsed, tuple):
        for index, (one, made) in enumerate(zip(raw, parsed, strict=True)):
            refuse_what_was_bent(one, made, (*place, str(index)))
    elif isinstance(raw, dict):
        if isinstance(parsed, dict) and len(parsed) < len(raw):
            raise ParamsError(f"{where}: {_same_number(raw)} are the same number; remove one")
        # The keys of a parsed mapping may be numbers that were texts, but stand in the same order.
        entries = parsed.values() if isinstance(parsed, dict) else [getattr(parsed, str(key), None) for key in raw]
        for (key, one), made in zip(raw.items(), entries, strict=False):
            refuse_what_was_bent(one, made, (*place, str(key)))


def _same_number(keys: Iterable[Any]) -> str:
    """The first keys of a mapping that are one number, as they are written."""
    written: dict[float, list[str]] = {}
    for key in keys:
        written.setdefault(float(number_of_key(key)), []).append(str(key))
    return " and ".join(next(group for group in written.values() if len(group) > 1))
