"""Downloads that outlast a bad moment: tried again after growing pauses, and only where that may help."""

import errno
import http.client
import os
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from typing import TypeVar

Result = TypeVar("Result")

# Seconds between one attempt and the next.
PAUSES = (1.0, 4.0, 16.0)

# Whose exceptions, for want of a status, mean that the network failed: what the Hugging Face hub is read with.
_CLIENTS = frozenset({"requests", "urllib3", "httpx", "httpcore"})


def retried(download: Callable[[], Result], what: str) -> Result:
    """The result of `download`, which is called again, up to four times in all, while the network or a server fails.

    Args:
        download: fetches something, whole or not at all, or goes on where it stopped.
        what: its name, for the line that says on stderr that it is tried again.

    Raises:
        Exception: that of the last attempt, or the first one that another attempt would not mend.
    """
    for pause in PAUSES:
        try:
            return download()
        except Exception as error:
            if not passing(error):
                raise
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            print(f"{what}: {reason}; trying again in {pause:g} s", file=sys.stderr, flush=True)
            time.sleep(pause)
    return download()


def passing(error: BaseException) -> bool:
    """Whether another attempt may succeed: a server that is busy or a connection that broke, but no missing file."""
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
    """What the system says of a disk that is full, of a used-up quota, or of too large a file; None of anything else.

    Libraries have errors of their own for these, raised from the system's or with its words.
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
    """The HTTP status that an error reports."""
    if isinstance(error, urllib.error.HTTPError):
        return int(error.code)
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
