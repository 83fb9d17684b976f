"""Errors that the user can mend. The command line prints each as one line and exits with status 1."""

import re
import unicodedata
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class DpmixError(Exception):
    """Something the user can mend; the message is one line that names the remedy."""


class ParamsError(DpmixError):
    """`params.yaml`, a command's options or a function's arguments ask for what does not exist or fit together."""


class DataError(DpmixError):
    """A data set, image, archive or model file is missing, damaged or not what it should be."""


class PrivacyError(DpmixError):
    """A privacy target that cannot be met, or something that would void the privacy guarantee of a run."""


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """A context in which the messages of `DpmixError`s name the file at `path` wherever they say `params.yaml`."""
    try:
        yield
    except DpmixError as error:
        message = re.sub(r"(?<![\w./-])params\.yaml(?![\w/-])", lambda _: str(path), str(error))
        raise (error if message == str(error) else type(error)(message)) from error.__cause__


@contextmanager
def as_typed(names: Container[str]) -> Iterator[None]:
    """A context in which the messages of `DpmixError`s say options of a command line as `as_options` does."""
    try:
        yield
    except DpmixError as error:
        message = as_options(str(error), names)
        raise (error if message == str(error) else type(error)(message)) from error.__cause__


def as_options(text: str, names: Container[str]) -> str:
    """A text for people in which arguments in backquotes are options of a command line.

    Messages name what to give as Python does, since their functions are called from there too.

    Args:
        text: such as an error's message.
        names: the arguments that have an option of their name; others stay as they are.

    >>> as_options('name another: `output="FOLDER"`, or leave out `k_self`', {"output", "k_self"})
    'name another: --output FOLDER, or leave out --k-self'
    >>> as_options("give `epsilon=[1, 4]` or `skip_damaged=True`", {"epsilon", "skip_damaged"})
    'give --epsilon 1 4 or --skip-damaged'
    """

    def option(found: re.Match[str]) -> str:
        if found[1] not in names:
            return found[0]
        value = re.sub(r"[\[\]\"',]", "", found[2] or "")
        return " ".join([f"--{found[1].replace('_', '-')}", *([] if value in ("", "True") else [value])])

    return re.sub(r"`(\w+)(?:=([^`]*))?`", option, text)


def one_line(error: BaseException, most: int | None = None) -> str:
    """An error's message in one line, or the name of its class if it has no message.

    Args:
        error: whose message may have several lines.
        most: how many characters to keep; None keeps all. For errors of other libraries, which may quote whole files.
    """
    return " ".join(str(error).split())[:most] or type(error).__name__


def known(name: str, names: Any, what: str, where: str = "") -> str:
    """Return `name` if it is one of `names`.

    Args:
        name: what the user wrote.
        names: what there is.
        what: what the name stands for, such as "dataset", for the message.
        where: the place in the params, such as "table 9", for the message.

    Raises:
        ParamsError: if it is not; the message suggests the closest name, or lists all.
    """
    if name in names:
        return name
    place = f" in {where}" if where else ""
    raise ParamsError(f"params.yaml: unknown {what} {name!r}{place}; {suggestion(name, names)}")


def suggestion(name: object, names: Iterable[Any]) -> str:
    """The end of an error message for an unknown `name`: the closest of `names`, or if none is close, all of them.

    >>> suggestion("digit", ["digits", "sun397"]), suggestion("mnist", ["digits", "sun397"])
    ("did you mean 'digits'?", 'there are digits, sun397')
    """
    written = [str(one) for one in names]
    close = nearest(str(name), written)
    if close and unicodedata.normalize("NFC", str(name)) == close[0]:
        return f"its accents are letters of their own; write it composed: {close[0]}"
    if not close:
        return f"there are {', '.join(written) or 'none'}"
    # Of two names that look the same, the letter says which is which.
    other = next((letter for letter in str(name) if not letter.isascii() and letter not in close[0]), None)
    said = f" ({other!r} is {unicodedata.name(other, f'U+{ord(other):04X}')})" if other else ""
    return f"did you mean {close[0]!r}?{said}"


def nearest(name: str, names: Iterable[str], most: int = 1, likeness: float = 0.6) -> list[str]:
    """Those of `names` that are most similar to `name`, the most similar first.

    Args:
        name: as the user wrote it.
        names: what could be meant.
        most: how many to give.
        likeness: in [0, 1]: the least similarity (`difflib.SequenceMatcher.ratio`).
    """
    import difflib

    return difflib.get_close_matches(name, list(names), n=most, cutoff=likeness)
