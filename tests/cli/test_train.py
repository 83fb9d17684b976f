"""`dpmix train`: its options are those of `dpmix.own.training.train.train`, and its help fits a screen."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dpmix.cli.train import train as command
from dpmix.own.training.train import train
from tests.cli.test_app import refused


def test_the_command_line_and_python_take_the_same() -> None:
    options, arguments = inspect.signature(command).parameters, inspect.signature(train).parameters
    assert options.keys() == arguments.keys()
    assert {name: one.default for name, one in options.items()} == {
        name: one.default for name, one in arguments.items()
    }  # fmt: skip


VERBS = ("check", "plan", "train", "predict", "evaluate", "compare", "audit", "card", "export")


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_a_screen_and_has_an_example(verb: str, repository: Path) -> None:
    example = f"dpmix {verb} my-images" if verb else "dpmix train my-images"
    shown = subprocess.run(
        [sys.executable, "-m", "dpmix", *([verb] if verb else []), "--help"],
        env={**os.environ, "COLUMNS": "80", "PYTHONPATH": str(repository)}, capture_output=True, text=True,
    )  # fmt: skip
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) <= 40
    assert example in " ".join(shown.stdout.replace("│", " ").split())


def test_a_mistake_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "my-images does not exist; name the folder" in refused(["train", "my-images", "--epsilon", "4"], monkeypatch)
    (tmp_path / "my-images").mkdir()
    assert "say it: --epsilon 4" in refused(["train", "my-images"], monkeypatch)
    assert not (tmp_path / "my-images-model.work").exists()
