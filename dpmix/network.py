"""Downloads that are tried again after growing pauses, if the error is one that may pass."""

import email.utils
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
_CLIENTS = frozenset({"requests", "urllib3", "httpx", "httpcore", "httpx2", "httpcore2"})

# A server that asks to be left alone for longer than this, in seconds, is not waited for.
LONGEST_PAUSE = 600.0

# So many bytes more than at the last failure, and a download counts as one that has not failed yet.
_ADVANCE = 2**20


def retried(
    download: Callable[[], Result],
    what: str,
    done: Callable[[], int] = lambda: 0,
    *,
    worth: "Callable[[BaseException], bool] | None" = None,
    why: Callable[[BaseException], str] = lambda error: one_line(error, 160),
) -> Result:
    """The result of `download()`, which is called up to four times while the network or a server fails.

    A server that says when to come back (`Retry-After`) is left alone for so long, if it is ten minutes or less.

    Args:
        download: fetches something. Called again, it starts anew or continues where it stopped.
        what: its name, for the line on stderr that says that it is tried again.
        done: how many bytes are there. A download that continues and has grown by a megabyte is tried four times more.
        worth: whether another attempt may mend an error; by default `passing`.
        why: an error in words, for the line on stderr.

    Raises:
        Exception: the last attempt's, or the first one that another attempt would not mend (see `passing`).
    """
    pauses, before = list(PAUSES), done()
    while True:
        try:
            return download()
        except Exception as error:
            if done() - before >= _ADVANCE:
                pauses, before = list(PAUSES), done()
            if not (worth or passing)(error) or not pauses:
                raise
            pause = max(pauses.pop(0), asked_pause(error))
            if pause > LONGEST_PAUSE:
                raise
            print(f"{what}: {why(error)}; trying again in {pause:g} s", file=sys.stderr, flush=True)
            time.sleep(pause)


def asked_pause(error: BaseException) -> float:
    """For how many seconds the server that refused asks to be left alone (`Retry-After`); 0 if it does not say."""
    for cause in causes(error):
        headers = getattr(cause, "headers", None) or getattr(getattr(cause, "response", None), "headers", None)
        said = None if headers is None else headers.get("Retry-After")
        if said is None:
            continue
        if said.strip().isdigit():
            return float(said)
        try:
            return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
        except ValueError:
            return 0.0
    return 0.0


def passing(error: BaseException) -> bool:
    """Whether another attempt may succeed: yes for a busy server or a broken connection, no for a missing file."""
    for cause in causes(error):
        status = _status(cause)
        if status is not None:
            return status >= 500 or status in (408, 425, 429)
        network = (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException)
        if isinstance(cause, network) or type(cause).__module__.partition(".")[0] in _CLIENTS:
            return True
    return False


def causes(error: BaseException) -> Iterator[BaseException]:
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
    for cause in causes(error):
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
