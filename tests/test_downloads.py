"""Downloads over a real connection: what is continued, what is compared, what is given up. Faults of data sets' servers
are in tests/rehearsal."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dpmix import network
from dpmix.downloads import Damaged, download, is_whole
from rehearsal.faults import Busy, Changed, Dropped
from rehearsal.server import Content, Request, Server, serving

BODY = bytes(range(256)) * 20_000  # 5 MB


def digest(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        running.files["/file"] = Content(BODY)
        yield running


def fetch(server: Server, path: Path, of: str = digest(BODY)) -> None:
    download(f"{server.url}/file", path, of, "the file")


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_file_is_fetched_once(server: Server, tmp_path: Path, algorithm: str) -> None:
    for _ in range(2):
        fetch(server, tmp_path / "new" / "file", digest(BODY, algorithm))
    assert (tmp_path / "new" / "file").read_bytes() == BODY
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["file"]
    assert server.requests("/file") == 1


def test_the_first_digits_of_a_digest_are_enough_and_none_are_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BODY)
    assert is_whole(tmp_path / "file", digest(BODY)[: len("sha256:") + 8])
    for other in ("sha256:", "sha256:00000000", digest(b"other")):
        assert not is_whole(tmp_path / "file", other)
    assert not is_whole(tmp_path / "absent", digest(BODY))


def test_another_file_in_its_place_is_replaced_only_by_a_whole_one(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"another")
    server.faults["/file"] = Changed(1)
    with pytest.raises(Damaged, match=r"sends 5120000 bytes whose SHA256 is not [0-9a-f]{64}"):
        fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"another"
    fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_killed_download_goes_on_in_the_next_process(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY[:4_000_000])
    fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.asked == [("GET", "/file", "bytes=4000000-")]


def test_a_part_that_is_all_needs_no_more(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY)
    fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY


class WithoutRanges(Server):
    """Sends all of a file whatever part is asked for."""

    def content(self, request: Request) -> Content:
        del request.headers["Range"]
        return super().content(request)


def test_a_server_without_ranges_sends_it_again(tmp_path: Path) -> None:
    with serving(WithoutRanges()) as server:
        server.files["/file"] = Content(BODY)
        (tmp_path / "file.part").write_bytes(b"other beginning")
        fetch(server, tmp_path / "file")
        assert server.requests("/file") == 1
    assert (tmp_path / "file").read_bytes() == BODY


@dataclass
class Replaced(Dropped):
    """The connection drops in mid-file, and then another file lies there."""

    by: bytes = b""

    def answer(self, request: Request, content: Content) -> None:
        super().answer(request, content)
        request.server.files["/file"] = Content(self.by)


@pytest.mark.parametrize("size", [1000, 4_000_000, 6_000_000])
def test_a_file_that_is_replaced_meanwhile_is_fetched_from_its_start(size: int, server: Server, tmp_path: Path) -> None:
    """Whether the other one ends before what had arrived or goes on behind it."""
    other = bytes(reversed(BODY))[:size] + BODY[: max(0, size - len(BODY))]
    server.faults["/file"] = Replaced(1, by=other)
    fetch(server, tmp_path / "file", digest(other))
    assert (tmp_path / "file").read_bytes() == other
    assert server.requests("/file") == 3


class DroppedAtFirst(Dropped):
    """Only what is asked for from its start drops."""

    def strikes(self, request: Request) -> bool:
        return "Range" not in request.headers and super().strikes(request)


def test_what_is_another_file_each_time_ends(server: Server, tmp_path: Path) -> None:
    """Also where each attempt is continued, so that each could have been a mixture of two files."""
    server.faults["/file"] = DroppedAtFirst()
    (tmp_path / "file.part").write_bytes(b"other beginning")
    with pytest.raises(Damaged, match="sends 5120000 bytes"):
        fetch(server, tmp_path / "file", digest(b"other"))
    assert list(tmp_path.iterdir()) == []
    assert server.requests("/file") == 3


def test_a_download_that_gets_on_is_not_given_up(server: Server, tmp_path: Path) -> None:
    """Nine connections end, each after a megabyte or two; no four in a row end without any gain."""
    server.files["/file"] = Content(BODY * 6)
    server.faults["/file"] = Dropped(9, share=0.07)
    fetch(server, tmp_path / "file", digest(BODY * 6))
    assert server.requests("/file") == 10
    assert (tmp_path / "file").read_bytes() == BODY * 6


def test_one_that_gets_nowhere_is(server: Server, tmp_path: Path) -> None:
    server.faults["/file"] = Dropped(share=0.0001)
    with pytest.raises(ConnectionError, match=r"the connection ended after \d+ of 5120000 bytes"):
        fetch(server, tmp_path / "file")
    assert server.requests("/file") == 4


def test_a_server_is_left_alone_for_as_long_as_it_asks(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(network.time, "sleep", slept.append)
    server.faults["/file"] = Busy(2, 429, "7")
    fetch(server, tmp_path / "file")
    assert slept == [7.0, 7.0]
    assert "the file: HTTP Error 429: Too Many Requests; trying again in 7 s" in capsys.readouterr().err
