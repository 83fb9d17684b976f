"""docs/add-a-method.md, followed literally in a copy of the tree: every block is applied, every command is run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/add-a-method.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEW = re.compile(r"New file `([^`]+)`:$")
CHANGE = re.compile(r"In `([^`]+)`, (below|above|in place of) the line (`{1,2})(.+?)\3:$")


class Step(NamedTuple):
    """A block of the page: its language, the line of text before it, and what it says."""

    language: str
    before: str
    text: str


def steps(page: str) -> list[Step]:
    """The blocks of a page in their order."""
    found = []
    for block in BLOCK.finditer(page):
        before = page[: block.start()].rstrip("\n").rpartition("\n")[2]
        found.append(Step(block[1], before, block[2]))
    return found


def apply(step: Step, folder: Path) -> None:
    """Write a new file, or put the block below, above or in place of the one line that the page names."""
    if new := NEW.fullmatch(step.before):
        path = folder / new[1]
        assert not path.exists(), f"{new[1]} is not new"
        path.write_text(step.text, encoding="utf-8")
        return
    change = CHANGE.fullmatch(step.before)
    assert change, f"the page does not say where this goes: {step.text}"
    path, where, line = folder / change[1], change[2], change[4] + "\n"
    text = path.read_text(encoding="utf-8")
    assert f"\n{text}".count(f"\n{line}") == 1, f"{change[1]} has not exactly one line {line}"
    put = {"below": line + step.text, "above": step.text + line, "in place of": step.text}[where]
    path.write_text(f"\n{text}".replace(f"\n{line}", f"\n{put}")[1:], encoding="utf-8")


def run(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block of commands as a person would, in the folder, with this Python first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # The installed package is that of this checkout; the copy comes before it.
    return subprocess.run(
        ["sh", "-euc", commands], cwd=folder, env={**os.environ, "PATH": path, "PYTHONPATH": str(folder)},
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a clone has, as far as the page needs it."""
    for folder in ("dpmix", "docs", "tests", "workflow"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "params.yaml"):
        shutil.copy(ROOT / file, tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_page_is_followed(tree: Path) -> None:
    trained: list[int] = []
    for step in steps(PAGE.read_text(encoding="utf-8")):
        if step.language != "sh":
            apply(step, tree)
            continue
        told = run(step.text, tree)
        assert told.returncode == 0, told.stdout + told.stderr
        trained.append(len(list((tree / "results/try/runs").rglob("metrics.json"))))
    # A dry run; the first row; one more by each section, which makes no row again that is there.
    assert trained == [0, 2, 3, 4, 5, 6]
    table = json.loads((tree / "results/try/tables/table_added.json").read_text(encoding="utf-8"))
    values = {cell["row"][-1]: cell["values"] for cell in table["cells"]}
    assert list(values) == ["as it was", "plain", "random pixels", "truncated", "darker"]
    assert all(len(value) == 1 and 0 <= value[0] <= 100 for value in values.values())
    clip_norms = json.loads((tree / "results/try/tables/table_clip_norms.json").read_text(encoding="utf-8"))
    assert [len(cell["values"]) for cell in clip_norms["cells"]] == [1, 1]
    # What was added is known everywhere: also where a name is misspelt.
    schema = yaml.safe_load((tree / "workflow/schemas/params.schema.yaml").read_text(encoding="utf-8"))
    assert "PlainCNNSpec" in schema["$defs"]
    assert "plain-cnn" in (tree / "docs/params.md").read_text(encoding="utf-8")
    mine = (tree / "mine.yaml").read_text(encoding="utf-8")
    for key, name in (("transforms: [crop, ", "darken"), ("clipping: ", "truncated"), ("kind: ", "plain-cnn")):
        assert key + name in mine
        (tree / "typo.yaml").write_text(mine.replace(key + name, f"{key}{name}n"), encoding="utf-8")
        told = run("dpmix check --params typo.yaml", tree)
        assert told.returncode == 1
        assert f"did you mean {name!r}?" in told.stderr


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("New file `dpmix/errors.py`:", "is not new"),
        ("In `dpmix/errors.py`, below the line `class Nothing:`:", "has not exactly one line"),
        ("In `dpmix/errors.py`, below the line ``:", "does not say where this goes"),
        ("As before:", "does not say where this goes"),
    ],
)
def test_a_block_that_cannot_be_applied_is_noticed(before: str, words: str, tree: Path) -> None:
    (step,) = steps(f"{before}\n\n```python\nx = 1\n```\n")
    with pytest.raises(AssertionError, match=words):
        apply(step, tree)
