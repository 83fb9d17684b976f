"""Which failures are worth another attempt, and how many."""

import errno
import http.client
import os
import time
import urllib.error
from collections.abc import Callable
from email.message import Message
from email.utils import formatdate

import pytest

from dpmix import network
from dpmix.network import asked_pause, full_disk, no_room, passing, retried


def http_error(code: int, retry_after: str | None = None) -> urllib.error.HTTPError:
    headers = Message()
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return urllib.error.HTTPError("http://mirror/file", code, "no", headers, None)


class Response:
    def __init__(self, status_code: int, **headers: str) -> None:
        self.status_code, self.headers = status_code, headers


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


def test_the_hubs_client_is_known_as_one() -> None:
    """Whatever HTTP library its next release is built on."""
    from huggingface_hub import get_session

    assert type(get_session()).__module__.partition(".")[0] in network._CLIENTS


def test_a_server_says_when_to_come_back() -> None:
    assert asked_pause(http_error(503, "120")) == 120
    in_a_minute = formatdate(time.time() + 60, usegmt=True)
    assert 50 < asked_pause(caused_by(http_error(429, in_a_minute))) <= 60
    assert asked_pause(http_error(429, formatdate(time.time() - 60, usegmt=True))) == 0
    assert asked_pause(http_error(429, "soon")) == asked_pause(http_error(429)) == asked_pause(OSError("no")) == 0
    refused = ClientError(429)
    refused.response = Response(429, **{"Retry-After": "9"})
    assert asked_pause(refused) == 9


def test_a_server_that_wants_to_be_left_alone_for_a_day_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network.time, "sleep", lambda seconds: None)
    download, calls = failing(9, http_error(429, "86400"))
    with pytest.raises(urllib.error.HTTPError):
        retried(download, "the file")
    assert len(calls) == 1


def test_what_gains_is_tried_on() -> None:
    there: list[int] = []

    def download() -> str:
        there.append(2**20)
        if len(there) < 12:
            raise ConnectionResetError("reset")
        return "whole"

    assert retried(download, "the file", done=lambda: sum(there)) == "whole"


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
