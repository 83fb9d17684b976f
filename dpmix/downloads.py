"""Files fetched by their address: continued where they stopped, and compared with a digest before they count as there.

A file grows as `<name>.part` beside its place, and is moved there when it is whole. A process that is killed leaves the
part, from which the next one goes on.
"""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from dpmix.errors import DataError
from dpmix.network import retried
from dpmix.progress import progress

# A server that is silent for so long has failed, and so has one that sends less than so many bytes in that time.
TIMEOUT_S = 60.0
LEAST_BYTES = 60_000

_BLOCK = 2**16
_MEGABYTE = 10**6


class Damaged(DataError):
    """What a server sent is whole and is not the file that was asked for."""


def download(url: str, path: Path, digest: str, what: str) -> None:
    """Fetch a file, unless it is there already with the right digest; it is at `path` whole or not at all.

    A broken connection, a busy server or one that sends next to nothing is tried again (`dpmix.network.retried`), from
    where it stopped, if the server can. What was continued and has another digest is fetched once more from its start.

    Args:
        url: its address, of http or https; redirects are followed.
        path: where it is to be. A file with another digest that lies there is replaced.
        digest: of its content, as `<algorithm>:<hex digits>`, such as `md5:67b4f4…`; the first digits are enough.
        what: its name, for messages.

    Raises:
        Damaged: if what the server sends is a web page, or has another digest.
        OSError: if the server cannot be reached, refuses, or goes on failing; or if the disk is full.
    """
    if is_whole(path, digest):
        return
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    for afresh in (False, True):
        continued = retried(lambda: _receive(url, part, what), what, done=lambda: _size(part))
        if is_whole(part, digest):
            os.replace(part, path)
            return
        size = _size(part)
        part.unlink()
        if afresh or not continued:
            raise Damaged(
                f"{url} sends {size} bytes whose {digest.partition(':')[0].upper()} is not {digest.partition(':')[2]}"
            )


def is_whole(path: Path, digest: str) -> bool:
    """Whether a file is there and has this digest, `<algorithm>:<hex digits>`."""
    if not path.is_file():
        return False
    algorithm, _, digits = digest.partition(":")
    with path.open("rb") as file:
        # MD5 sums are what publishers give; they guard against damage here, and not against an attacker.
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    return bool(digits) and found.startswith(digits)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _receive(url: str, part: Path, what: str) -> bool:
    """Append to `part` what it lacks of the file at `url`.

    Returns:
        Whether there was something before, so that the file may have been another one then.

    Raises:
        Damaged: if the answer is a web page.
        OSError: for a connection that fails or ends too early, or a disk that is full.
        HTTPException: for an answer that breaks off between two of its chunks.
    """
    start = _size(part)
    headers = {"User-Agent": "dpmix", "Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        return True  # nothing follows what is there: either it is all, or of another file
    with response:
        if response.headers.get_content_type() == "text/html":
            raise Damaged(f"{response.url} answers with a web page instead of a file, as a proxy or a login may")
        if response.status != 206:  # the server sends all of it again
            start = 0
        length = response.headers.get("Content-Length")
        expected = None if length is None else start + int(length)
        with part.open("ab" if start else "wb") as file:
            total = None if expected is None else -(-(expected - start) // _MEGABYTE)
            for _ in progress(_written(response, file.write), what, "MB", total):
                pass
    if expected is not None and (size := _size(part)) < expected:
        raise ConnectionError(f"the connection ended after {size} of {expected} bytes")
    return start > 0


def _written(response: http.client.HTTPResponse, write: Callable[[bytes], object]) -> Iterator[None]:
    """Write all that arrives; yields after each megabyte of it.

    Raises:
        TimeoutError: if it arrives too slowly to be worth waiting for.
    """
    arrived, shown = 0, 0
    since, before = time.monotonic(), 0
    while block := response.read1(_BLOCK):
        write(block)
        arrived += len(block)
        while arrived - shown >= _MEGABYTE:
            shown += _MEGABYTE
            yield
        if (now := time.monotonic()) - since >= TIMEOUT_S:
            if arrived - before < LEAST_BYTES:
                raise TimeoutError(f"{arrived - before} bytes arrived in {now - since:.0f} s")
            since, before = now, arrived
