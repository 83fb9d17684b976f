"""A test that is skipped says what it needs, in one vocabulary, and a run ends by counting it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs
from tests.needs import CHROMIUM, GPU, LINUX, closing_line

SAMPLE = """
import pytest

@pytest.mark.parametrize("number", range(3))
@needs.needs(needs.GPU, False)
def test_marked(number): ...

@needs.needs(needs.LINUX, True)
def test_there(): ...

def test_finds_out(): needs.lacks(needs.CHROMIUM)

def test_imports(): needs.module("no_such_module_anywhere", needs.JAX_PRIVACY)
"""
LOAD = """
import importlib.util
spec = importlib.util.spec_from_file_location("needs", {path!r})
needs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(needs)
"""


def test_the_line_counts_by_what_is_needed() -> None:
    reasons = [f"needs {LINUX}", *[f"needs {GPU}"] * 9, *[f"needs {CHROMIUM}"] * 2]
    assert closing_line(reasons) == (
        "12 tests were skipped: 9 need an NVIDIA GPU, 2 need chromium (Debian: chromium), 1 needs Linux."
    )
    assert closing_line([f"needs {GPU}"]) == "1 test was skipped: 1 needs an NVIDIA GPU."
    assert closing_line(["rainy", "rainy"]) == "2 tests were skipped: 2: rainy."


@pytest.mark.parametrize("workers", ["0", "2"])
def test_it_is_the_last_line_of_a_run(tmp_path: Path, workers: str) -> None:
    load = LOAD.format(path=needs.__file__)
    (tmp_path / "conftest.py").write_text(f"{load}\npytest_sessionfinish = needs.pytest_sessionfinish\n")
    (tmp_path / "test_sample.py").write_text(load + SAMPLE)
    command = [sys.executable, "-m", "pytest", "-q", "-n", workers, "--rootdir", str(tmp_path), str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    before, last = run.stdout.splitlines()[-2:]
    assert before.startswith("1 passed, 5 skipped in ")
    assert last == (
        "5 tests were skipped: 3 need an NVIDIA GPU, 1 needs chromium (Debian: chromium), "
        "1 needs jax-privacy (the extra jax)."
    )


def test_a_run_that_skips_nothing_ends_as_ever(tmp_path: Path) -> None:
    load = LOAD.format(path=needs.__file__)
    (tmp_path / "conftest.py").write_text(f"{load}\npytest_sessionfinish = needs.pytest_sessionfinish\n")
    (tmp_path / "test_sample.py").write_text("def test_one(): ...\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "--rootdir", str(tmp_path), str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.splitlines()[-1].startswith("1 passed in ")


def test_no_other_file_skips_in_words_of_its_own(repository: Path) -> None:
    files = sorted(set((repository / "tests").rglob("*.py")) - {repository / "tests/needs.py"})
    assert len(files) > 60
    own = []
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("skip", "skipif", "importorskip", "SkipTest"):
                own.append(f"{path.relative_to(repository)}:{node.lineno}")
    assert own == [], "name what is needed in tests/needs.py"
