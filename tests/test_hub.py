"""The hub's client is asked again where that may help, and its own lines are not shown."""

import socket
from pathlib import Path

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import logging

from dpmix import hub, network


def no_such_host() -> Exception:
    """As the client raises it on a machine without a network."""
    try:
        try:
            raise socket.gaierror(-2, "Name or service not known")
        except socket.gaierror as error:
            raise ConnectionError("[Errno -2] Name or service not known") from error
    except ConnectionError as error:
        return error


def test_without_a_network_it_is_asked_once(capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def fetch() -> str:
        asked.append(1)
        raise no_such_host()

    with pytest.raises(ConnectionError):
        hub.whole(fetch, "someone/eye")
    assert len(asked) == 1
    assert capsys.readouterr().err == ""


def test_a_broken_connection_is_tried_again_with_a_reason_of_one_clause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(network, "PAUSES", (0.0,))
    asked = []

    def fetch() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise OSError("We cannot find the file on the Hub; check this and that") from ConnectionError("reset")
        return str(tmp_path)

    assert hub.whole(fetch, "someone/eye") == tmp_path
    assert capsys.readouterr().err == "someone/eye: reset; trying again in 0 s\n"


def test_the_client_says_nothing_of_each_attempt() -> None:
    before, logger = logging.get_verbosity(), logging.get_logger("huggingface_hub.test")
    logging.set_verbosity_warning()
    try:
        with hub.quiet_client():
            assert not logger.isEnabledFor(logging.WARNING)
        assert logger.isEnabledFor(logging.WARNING)
    finally:
        logging.set_verbosity(before)


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        (ConnectionError("reset"), True),
        (socket.gaierror(-2, "Name or service not known"), False),
        (OfflineModeIsEnabled("HF_HUB_OFFLINE=1"), False),
    ],
)
def test_the_hub_is_asked_again_only_where_that_may_help(error: Exception, worth: bool) -> None:
    assert hub.worth_another(error) == worth
