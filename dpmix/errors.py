"""Errors that a person can mend. The command line prints each as one line and exits with status 1."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
