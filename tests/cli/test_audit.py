"""`dpmix audit`: its help, what it prints, and its exit status."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dpmix.cli import main
from dpmix.own.research import audit as own
from dpmix.own.research.audit import Audited
from tests.cli.test_app import refused

FOUND = Audited("my-images", "image", 100, 0.5, 1.0, 10, 1.0, 2, 1e-5, 4.0, 2.5, 1.0, 0.95, 4000, 40, False)


def run(words: str, monkeypatch: pytest.MonkeyPatch, found: Audited) -> object:
    monkeypatch.setattr(own, "audit", lambda *_, **__: found)
    monkeypatch.setattr(sys, "argv", words.split())
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_a_contradiction_is_exit_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dpmix audit my-images --epsilon 4", monkeypatch, FOUND) in (0, None)
    assert "claimed: ε = 4 for one image at δ = 1e-05: not contradicted" in capsys.readouterr().out
    bad = replace(FOUND, epsilon_lower_bound=5.5, contradicted=True)
    assert run("dpmix audit my-images --epsilon 4 --json", monkeypatch, bad) == 1
    assert json.loads(capsys.readouterr().out) == bad.to_json()


def test_a_mistake_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "my-images does not exist; name the folder" in refused(["audit", "my-images", "--epsilon", "4"], monkeypatch)
