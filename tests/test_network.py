"""Which failures are worth another attempt, and how many."""

import errno
import http.client
import os
import urllib.error
from collections.abc import Callable
from email.message import Message

import pytest

from dpmix import network
from dpmix.network import full_disk, no_room, passing, retried


def http_error(code: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("http://mirror/file", code, "no", Message(), None)


class Response:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


class ClientError(Exception):
    """As the hub's client raises it: with the response, if there was one."""

    __module__ = "httpx._exceptions"

    def __init__(self, status: int | None = None) -> None:
        super().__init__("the hub")
        self.response = Response(status) if status else None


def caused_by(error: BaseException) -> Exception:
    try:
        raise ValueError("cannot load") from error
    except ValueError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        (urllib.error.URLError("no route to host"), True),
        (ConnectionResetError("reset"), True),
        (TimeoutError("timed out"), True),
        (http.client.IncompleteRead(b"half"), True),
        (http_error(503), True),
        (http_error(429), True),
        (http_error(404), False),
        (http_error(403), False),
        (ClientError(), True),
        (ClientError(502), True),
        (ClientError(401), False),
        (caused_by(ClientError()), True),
        (caused_by(http_error(404)), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("File not found or corrupted."), False),
        (ValueError("no such model"), False),
    ],
)
def test_what_is_worth_another_attempt(error: Exception, worth: bool) -> None:
    assert passing(error) == worth


def failing(times: int, error: Exception) -> tuple[Callable[[], str], list[int]]:
    calls: list[int] = []

    def download() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "whole"

    return download, calls


@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_bad_moment_passes(times: int, capsys: pytest.CaptureFixture[str]) -> None:
    download, calls = failing(times, urllib.error.URLError("busy\nline"))
    assert retried(download, "the file") == "whole"
    assert len(calls) == times + 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == times
    assert all(line.startswith("the file: <urlopen error busy line>; trying again in ") for line in lines)


def test_pauses_grow_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(network, "PAUSES", (1.0, 4.0, 16.0))
    monkeypatch.setattr(network.time, "sleep", slept.append)
    download, calls = failing(9, TimeoutError("timed out"))
    with pytest.raises(TimeoutError):
        retried(download, "the file")
    assert (len(calls), slept) == (4, [1.0, 4.0, 16.0])


def test_what_another_attempt_cannot_mend_is_raised_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    download, calls = failing(9, http_error(404))
    with pytest.raises(urllib.error.HTTPError):
        retried(download, "the file")
    assert len(calls) == 1
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_known_in_every_guise() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert full_disk(full)
    assert full_disk(caused_by(full))
    assert full_disk(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not full_disk(OSError(errno.EACCES, "Permission denied"))
    assert no_room(RuntimeError("I/O error: No space left on device (os error 28)")) == os.strerror(errno.ENOSPC)
    assert no_room(caused_by(OSError(errno.EFBIG, "whatever"))) == os.strerror(errno.EFBIG)
    assert no_room(OSError(errno.EDQUOT, "whatever")) == os.strerror(errno.EDQUOT)
    assert no_room(RuntimeError("another")) is None
