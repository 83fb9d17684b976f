"""Errors that a person can mend. The command line prints each as one line and exits with status 1."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

pass
pass


class DpmixError(Exception):
    """Something the user can mend; the message is one line that names the remedy."""


class ParamsError(DpmixError):
    """`params.yaml` asks for something that does not exist or does not fit together."""


class DataError(DpmixError):
    """A data set, image, archive or model file is missing, damaged or not what it should be."""


class PrivacyError(DpmixError):
    """A privacy target that cannot be met, or a run that would exceed it."""


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Within it, errors that speak of `params.yaml`, its usual name, name the file at `path` instead."""
    try:
        yield
    except DpmixError as error:
        message = re.sub(r"(?<![\w./-])params\.yaml(?![\w/-])", lambda _: str(path), str(error))
        raise (error if message == str(error) else type(error)(message)) from error.__cause__


def one_line(error: BaseException) -> str:
    """An error's message in one line; its class where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def known(name: str, names: Any, what: str) -> str:
    """`name` if it is one of `names`; else a `ParamsError` that lists them and the closest."""
    if name in names:
        return name
    raise ParamsError(f"params.yaml: unknown {what} {name!r}; {suggestion(name, names)}")


def suggestion(name: str, names: Any) -> str:
    """What to write instead of `name`: the closest of `names`, or all of them."""
    import difflib

    close = difflib.get_close_matches(name, [str(one) for one in names], n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(map(str, names))}"
