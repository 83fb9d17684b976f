"""What a message says to give is understood by whoever calls Python and by whoever types a command."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dpmix
from dpmix.cli.options import OPTIONS
from dpmix.errors import DpmixError
from tests.cli.test_app import refused

ROOT = Path(__file__).resolve().parents[2] / "dpmix"
VERBS = (dpmix.audit, dpmix.compare, dpmix.evaluate, dpmix.plan, dpmix.predict, dpmix.train)


def messages(folder: Path) -> Iterator[str]:
    """The texts in the errors of all files, with the values in them left out."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                parts = [part for argument in node.exc.args for part in ast.walk(argument)]
                texts = [part.value for part in parts if isinstance(part, ast.Constant)]
                yield "".join(text for text in texts if isinstance(text, str))


def test_no_error_below_the_command_line_names_a_switch() -> None:
    said = [text for folder in ("own", "data", "release") for text in messages(ROOT / folder)]
    assert len(said) > 120
    assert [text for text in said if re.search(r"(?<![\w-])--[a-z]", text)] == []


def test_what_errors_name_is_an_argument_of_a_verb_and_an_option() -> None:
    named = {name for text in messages(ROOT / "own") for name in re.findall(r"`(\w+)(?:=[^`]*)?`", text)}
    assert len(named) >= 12
    assert named <= OPTIONS
    # `audit`, `compare` and `plan` hand on what `train` takes.
    assert named <= {name for verb in VERBS for name in inspect.signature(verb).parameters} | {"format"}


@pytest.mark.parametrize(
    ("options", "python", "typed"),
    [
        ({}, "say it: `epsilon=4`", "say it: --epsilon 4"),
        ({"epsilon": 4, "batch_size": 0}, "correct it: `batch_size`", "correct it: --batch-size"),
        ({"epsilon": 4, "seed": 3}, "leave out `seed`, or add `research=True`", "leave out --seed, or add --research"),
        (
            {"epsilon": 4, "method": "dp-mix-diff"},
            "name a folder of them: `synthetic='FOLDER'`",
            "name a folder of them: --synthetic FOLDER",
        ),
        (
            {"epsilon": 4, "device": "gpu"},
            "choose `device='cpu'`, or leave it out for a GPU if there is one",
            "choose --device cpu, or leave it out for a GPU if there is one",
        ),
    ],
)
def test_the_same_mistake_is_told_in_each_readers_words(
    options: dict[str, Any], python: str, typed: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DpmixError) as caught:
        dpmix.train(images, **options)
    assert str(caught.value).endswith(f"; {python}")
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert refused(["train", str(images), *words], monkeypatch).endswith(f"; {typed}")
