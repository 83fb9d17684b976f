"""Long work says how far it is, and how long the rest will take."""

import pytest

from dpmix import progress as module
from dpmix.progress import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, as its last entry."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[-1])
    return now


def test_a_log_has_a_line_every_half_minute(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    done = []
    for item in progress(range(8), "decoding", "image"):
        done.append(item)
        clock.append(clock[-1] + 20)
    assert done == list(range(8))
    # Two items take 40 s, so that the lines come after 2, 4 and 6 of them.
    assert capsys.readouterr().err.splitlines() == [
        "decoding: 2 of 8 images in 40 s, about 120 s left",
        "decoding: 4 of 8 images in 80 s, about 80 s left",
        "decoding: 6 of 8 images in 120 s, about 40 s left",
    ]


def test_without_a_number_of_items_the_rest_is_not_guessed(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in progress(iter("ab"), "reading"):
        clock.append(clock[-1] + 31)
    for _ in progress(iter("ab"), "reading", total=2):
        clock.append(clock[-1] + 31)
    assert capsys.readouterr().err.splitlines() == [
        "reading: 1 steps in 31 s",
        "reading: 1 of 2 steps in 31 s, about 31 s left",
    ]


def test_short_work_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress([1, 2], "reading")) == [1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress(range(3), "decoding", "image")) == [0, 1, 2]
    said = capsys.readouterr().err
    assert "decoding: " in said
    assert "0/3" in said
