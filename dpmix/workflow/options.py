"""What `--config` may say, refused in one line where Snakemake's own reader would end in a traceback."""

from collections.abc import Callable, Sequence
from typing import Any

from dpmix.errors import DpmixError, ParamsError, one_line

_HOW = "write --config scale=demo, and targets before it or after --"


def checked(read: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """Snakemake's reader of `--config`, after a look at what it is given; for `workflow/profiles/default`.

    Args:
        read: Snakemake's `parse_config`. What it makes of entries that are let through stays as it is.
    """

    def reader(entries: Any) -> dict[str, Any]:
        try:
            check(entries or ())
        except DpmixError as error:
            # Snakemake would set any other exception between lines of its own.
            raise SystemExit(f"error: {one_line(error)}") from None
        return read(entries)

    return reader


def check(entries: Sequence[str]) -> None:
    """Refuse entries of `--config` that have no value or another value for the same key, or are no entries at all.

    `--config` takes all words that follow it, so that a target after it is among them.

    Args:
        entries: of the command line, or of a profile.

    Raises:
        ParamsError: with a form that is right.
    """
    found = dict[str, str]()
    for entry in map(str, entries):
        key, equals, value = entry.partition("=")
        if not equals:
            raise ParamsError(f"--config takes scale=NAME, and {entry!r} is not of that form; {_HOW}")
        if key != key.strip() or len(key) < 2 or not key.replace("-", "_").isidentifier() or not key.isascii():
            raise ParamsError(f"--config sets scale alone, and {key!r} is no key; {_HOW}")
        if not value.strip("'\" "):
            raise ParamsError(f"--config {key}= has no value; {_HOW}")
        if found.setdefault(key, value) != value:
            raise ParamsError(f"--config gives {key} twice, as {found[key]!r} and {value!r}; leave one of them out")
