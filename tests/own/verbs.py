"""Calls the verbs as their commands, in this process and in the smallest way."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from dpmix.cli import main

VERBS = ("check", "plan", "train", "evaluate", "predict", "compare", "audit")
"""Those that are given images."""


class Said(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err


Call = Callable[..., Said]


@pytest.fixture
def call(
    tmp_path: Path, encoder_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Calls a verb on images, as its command, in the smallest way; `evaluate` and `predict` with the trained model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dpmix.own.training.plan._SECONDS", 0.05)
    seen = ("--encoder", str(encoder_folder), "--side", "16")
    little = ("--batch-size", "8", "--epochs", "1")
    options: dict[str, tuple[str, ...]] = {
        "check": (),
        "plan": ("--epsilon", "4", *seen, *little),
        "train": ("--epsilon", "4", *seen, *little, "--method", "self-aug", "--k-base", "1", "--output", "model"),
        "compare": ("--epsilon", "4", "--methods", "self-aug", "--seeds", "1", "--output", "out", *seen, *little),
        "audit": ("--epsilon", "4", *little, "--observations", "100"),
        "evaluate": ("--output", "measured"),
        "predict": (),
    }

    def called(verb: str, images: str | Path, *more: str) -> Said:
        for folder in ("out", "measured", *(["model"] if verb == "train" and not more else [])):
            shutil.rmtree(folder, ignore_errors=True)
        model = ("model",) if verb in ("evaluate", "predict", "card", "export") else ()
        words = ["dpmix", verb, *model, str(images), *options.get(verb, ()), *more]
        monkeypatch.setattr("sys.argv", words)
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        shown, code = capsys.readouterr(), caught.value.code
        said = f"{code}\n" if isinstance(code, str) else ""  # as the interpreter prints it
        return Said(1 if said else int(code or 0), shown.out, shown.err + said)

    return called
