"""A web server on the loopback: files with entity tags and ranges, as mirrors and object stores serve them, and faults.

It speaks HTTP/1.1 and closes each connection. What is served is a mapping from paths to `Content`; what goes wrong is
a mapping from paths to a `rehearsal.faults.Fault`, which answers instead as often as it is told to.
"""

import contextlib
import hashlib
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from rehearsal.faults import Fault

OCTETS = "application/octet-stream"


@dataclass(frozen=True)
class Content:
    """What lies at a path.

    Attributes:
        body: the bytes, or the file that holds them.
        headers: sent beside those of every answer.
        status: of the answer; 200, or 206 if a range was asked for.
    """

    body: bytes | Path
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.stat().st_size

    def read(self, start: int = 0, count: int | None = None) -> bytes:
        """A part of the bytes."""
        if isinstance(self.body, bytes):
            return self.body[start : None if count is None else start + count]
        with self.body.open("rb") as file:
            file.seek(start)
            return file.read() if count is None else file.read(count)


def sha256(content: bytes | Path) -> str:
    """The hex digits of the SHA-256 of bytes, or of a file."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Request(BaseHTTPRequestHandler):
    """One request; `answer` sends a `Content`, with the range that was asked for."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    @property
    def place(self) -> str:
        """The path that was asked for, without its query, unquoted."""
        return unquote(urlsplit(self.path).path)

    def do_GET(self) -> None:
        """Answer a GET, by a fault if there is one."""
        self.close_connection = True
        self.server.asked.append((self.command, self.place, self.headers.get("Range", "")))
        if self.server.silent:
            return
        fault = self.server.fault_of(self)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a client that has heard enough
            content = self.server.content(self)
            if fault is not None:
                fault.answer(self, content)
            else:
                self.answer(content)

    do_HEAD = do_GET

    def start(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        """Send the status line and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()

    def part(self, content: Content) -> tuple[int, dict[str, str], int]:
        """The status, the headers and the first byte of what was asked for of a content."""
        headers = {"Content-Type": OCTETS, **content.headers}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None or content.status != 200:
            return content.status, headers, 0
        start, size = int(asked[1]), content.size
        if start >= size:
            return 416, {"Content-Range": f"bytes */{size}"}, size
        return 206, {**headers, "Content-Range": f"bytes {start}-{size - 1}/{size}"}, start

    def answer(self, content: Content) -> None:
        """Send a content, or what was asked for of it."""
        status, headers, start = self.part(content)
        self.start(status, headers, content.size - start)
        if self.command != "HEAD":
            self.copy(content, start)

    def copy(self, content: Content, start: int) -> None:
        """Send the bytes of a content from `start`."""
        if isinstance(content.body, bytes):
            self.wfile.write(content.body[start:])
            return
        file: IO[bytes]
        with content.body.open("rb") as file:
            file.seek(start)
            shutil.copyfileobj(file, self.wfile, 2**20)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: `Server.asked` has it."""


class Server(ThreadingHTTPServer):
    """A server that is listening; `serving` starts one.

    Attributes:
        files: what is served, by path.
        faults: what answers instead, by path.
        asked: the method, path and range of every request so far.
        silent: whether it hears requests and answers none.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.files: dict[str, Content] = {}
        self.faults: dict[str, Fault] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.silent = False
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault_of(self, request: Request) -> "Fault | None":
        """The fault that is to answer a request, if any."""
        with self._lock:
            fault = self.faults.get(request.place)
            return fault if fault is not None and fault.strikes(request) else None

    def content(self, request: Request) -> Content:
        """What lies at a request's path."""
        missing = Content(b"not here\n", {"Content-Type": "text/plain"}, 404)
        return self.files.get(request.place, missing)

    def requests(self, place: str, method: str = "GET") -> int:
        """How often a path was asked for."""
        return sum(asked[:2] == (method, place) for asked in self.asked)


@contextlib.contextmanager
def serving(server: Server | None = None) -> Iterator[Server]:
    """Serve until the context ends."""
    server = server or Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
