"""A server that has fallen silent answers nobody, and notes who asks."""

import http.client
import urllib.request

import pytest

from rehearsal.server import Content, Server


def test_a_silent_server_answers_nobody_and_notes_who_asks(server: Server) -> None:
    server.files["/one"] = Content(b"there")
    with urllib.request.urlopen(f"{server.url}/one", timeout=20) as answer:
        assert answer.read() == b"there"
    server.silent = True
    with pytest.raises(http.client.RemoteDisconnected):
        urllib.request.urlopen(f"{server.url}/one", timeout=20)
    assert server.requests("/one") == 2
