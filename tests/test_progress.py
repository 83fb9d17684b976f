"""Long work says how far it is, and how long the rest will take."""

import pytest

from dpmix import progress as module
from dpmix.progress import progress, untimed


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


def test_where_the_number_is_private_only_the_share_is_shown(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in progress(range(8), "decoding", "image", counted=False):
        clock.append(clock[-1] + 40)
    for _ in progress(iter("ab"), "decoding", "image", counted=False):
        clock.append(clock[-1] + 40)
    assert capsys.readouterr().err.splitlines() == [
        *(
            f"decoding: {round(12.5 * done - 0.1)} % in {40 * done} s, about {40 * (8 - done)} s left"
            for done in range(1, 8)
        ),
        "decoding: at work in 40 s",
    ]
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress(range(3), "decoding", "image", counted=False)) == [0, 1, 2]
    said = capsys.readouterr().err
    assert "decoding:   0%|" in said
    assert "/3" not in said
    assert "image/s" not in said


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress(range(3), "decoding", "image")) == [0, 1, 2]
    said = capsys.readouterr().err
    assert "decoding: " in said
    assert "0/3" in said


def test_without_times_a_log_has_the_same_lines_however_long_it_takes(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    for seconds in (0.01, 300.0):
        for _ in untimed(range(40), "training"):
            clock.append(clock[-1] + seconds)
        assert capsys.readouterr().err.splitlines() == [f"training: {done} of 40 steps" for done in range(4, 40, 4)]
    assert list(untimed(range(1), "training")) == [0]
    assert capsys.readouterr().err == ""


def test_without_times_a_terminal_has_a_bar_of_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    assert list(untimed(range(3), "training")) == [0, 1, 2]
    said = capsys.readouterr().err
    assert "0/3" in said
    assert not any(sign in said for sign in ("it/s", "s/it", "00:", "?"))
