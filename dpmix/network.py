"""Downloads that are tried again after growing pauses, if the error is one that may pass."""

import errno
import http.client
import os
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from typing import TypeVar

from dpmix.errors import one_line

Result = TypeVar("Result")

# Seconds between one attempt and the next.
PAUSES = (1.0, 4.0, 16.0)

# HTTP libraries (of the Hugging Face hub). Their exceptions mean a failed network, unless they carry an HTTP status.
_CLIENTS = frozenset({"requests", "urllib3", "httpx", "httpcore"})


def retried(download: Callable[[], Result], what: str) -> Result:
    """The result of `download()`, which is called up to four times while the network or a server fails.

    Args:
        download: fetches something. Called again, it starts anew or continues where it stopped.
        what: its name, for the line on stderr that says that it is tried again.

    Raises:
        Exception: the last attempt's, or the first one that another attempt would not mend (see `passing`).
    """
    for pause in PAUSES:
        try:
            return download()
        except Exception as error:
            if not passing(error):
                raise
            reason = one_line(error, 160)
            print(f"{what}: {reason}; trying again in {pause:g} s", file=sys.stderr, flush=True)
            time.sleep(pause)
    return download()


def passing(error: BaseException) -> bool:
    """Whether another attempt may succeed: yes for a busy server or a broken connection, no for a missing file."""
    for cause in _causes(error):
        status = _status(cause)
        if status is not None:
            return status >= 500 or status in (408, 425, 429)
        network = (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException)
        if isinstance(cause, network) or type(cause).__module__.partition(".")[0] in _CLIENTS:
            return True
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from, outermost first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def full_disk(error: BaseException) -> bool:
    """Whether an error comes from a full disk."""
    return no_room(error) is not None


def no_room(error: BaseException) -> str | None:
    """The system's message if an error comes from a full disk, a used-up quota or too large a file; else None.

    Libraries raise errors of their own for these, caused by the system's error or with its message as their text.
    """
    said = {number: os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)}
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in said:
            return said[cause.errno]
        for words in said.values():
            if words in str(cause):
                return words
    return None


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error carries, if any."""
    if isinstance(error, urllib.error.HTTPError):
        return int(error.code)
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
