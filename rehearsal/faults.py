"""What goes wrong with a server: each fault answers instead of it, `times` times or for ever."""

import gzip
import socket
import time
from dataclasses import dataclass, field
from typing import ClassVar

from rehearsal.server import Content, Request


@dataclass
class Fault:
    """A fault; subclasses say in `answer` how it looks.

    Attributes:
        times: how many requests it answers before all is well again; None answers all of them.
        struck: how many it has answered.
    """

    times: int | None = None
    struck: int = field(default=0, init=False)
    heads: ClassVar[bool] = False

    def strikes(self, request: Request) -> bool:
        """Whether it is this fault that answers a request; a request for headers alone, only if it concerns these."""
        if (request.command == "HEAD" and not self.heads) or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True

    def answer(self, request: Request, content: Content) -> None:
        """Answer a request for a content."""
        raise NotImplementedError


@dataclass
class Dropped(Fault):
    """The connection ends after a share of what is left of the file."""

    share: float = 0.5

    def answer(self, request: Request, content: Content) -> None:
        """Send a share of the bytes that were announced."""
        status, headers, start = request.part(content)
        left = content.size - start
        request.start(status, headers, left)
        request.wfile.write(content.read(start, int(left * self.share)))
        request.wfile.flush()
        request.connection.shutdown(socket.SHUT_RDWR)


@dataclass
class Busy(Fault):
    """A status such as 503 or 429, perhaps with the seconds after which to come back."""

    status: int = 503
    retry_after: str | None = None
    heads: ClassVar[bool] = True

    def answer(self, request: Request, content: Content) -> None:
        """Refuse."""
        headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        request.answer(Content(b"busy\n", {"Content-Type": "text/plain", **headers}, self.status))


@dataclass
class Changed(Fault):
    """One byte in the middle is another: the size is right, and the checksum wrong."""

    def answer(self, request: Request, content: Content) -> None:
        """Send the file with another byte."""
        body = bytearray(content.read())
        body[len(body) // 2] ^= 0xFF
        request.answer(Content(bytes(body), content.headers))


@dataclass
class Truncated(Fault):
    """The file is shorter than it should be, and the server says so, as where an upload broke off."""

    share: float = 0.5

    def answer(self, request: Request, content: Content) -> None:
        """Send the first part as if it were all."""
        request.answer(Content(content.read(0, int(content.size * self.share)), content.headers))


@dataclass
class Overstated(Fault):
    """More bytes are announced than there are, and then the connection ends."""

    more: int = 1000

    def answer(self, request: Request, content: Content) -> None:
        """Send all that there is."""
        status, headers, start = request.part(content)
        request.start(status, headers, content.size - start + self.more)
        request.copy(content, start)
        request.wfile.flush()
        request.connection.shutdown(socket.SHUT_RDWR)


@dataclass
class Compressed(Fault):
    """The file arrives compressed, whatever the client accepts, as some proxies send it."""

    def answer(self, request: Request, content: Content) -> None:
        """Send it compressed."""
        request.answer(Content(gzip.compress(content.read()), {**content.headers, "Content-Encoding": "gzip"}))


@dataclass
class Circular(Fault):
    """A redirect to where it comes from."""

    heads: ClassVar[bool] = True

    def answer(self, request: Request, content: Content) -> None:
        """Send the redirect."""
        request.answer(Content(b"", {**content.headers, "Location": request.path}, 302))


@dataclass
class Nowhere(Fault):
    """A redirect to a port where nobody listens."""

    heads: ClassVar[bool] = True

    def answer(self, request: Request, content: Content) -> None:
        """Send the redirect."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        request.answer(Content(b"", {**content.headers, "Location": f"http://127.0.0.1:{port}/gone"}, 302))


@dataclass
class Drip(Fault):
    """Bytes arrive a few at a time, with a pause after each piece."""

    piece: int = 1
    pause_s: float = 0.05

    def answer(self, request: Request, content: Content) -> None:
        """Send the file slowly."""
        status, headers, start = request.part(content)
        request.start(status, headers, content.size - start)
        body = content.read(start)
        for first in range(0, len(body), self.piece):
            request.wfile.write(body[first : first + self.piece])
            request.wfile.flush()
            time.sleep(self.pause_s)


@dataclass
class Page(Fault):
    """A proxy's web page in place of the file, with a status that says that all is well."""

    heads: ClassVar[bool] = True

    def answer(self, request: Request, content: Content) -> None:
        """Send the page."""
        request.answer(
            Content(
                b"<html><body>Please log in to use the network.</body></html>\n",
                {"Content-Type": "text/html; charset=utf-8"},
            )
        )
