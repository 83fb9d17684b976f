"""Examples in docstrings run, and every public name of `dpmix.privacy` has one."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "dpmix").rglob("*.py"))
}
WITH_EXAMPLES = [name for name, path in MODULES.items() if ">>> " in path.read_text(encoding="utf-8")]
PRIVACY = [name for name in MODULES if name.startswith("dpmix.privacy.")]
# Its kernels run on a GPU alone; tests/privacy/test_weight_gradients.py holds them against autograd.
ON_A_GPU = "dpmix.privacy.weight_gradients"


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def public(path: Path) -> list[ast.FunctionDef | ast.ClassDef]:
    """The public functions and classes at the top level of a file, but for protocols, which do nothing."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node for node in named if not node.name.startswith("_") and not protocol(node)]


def protocol(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)


def without_example(path: Path) -> list[str]:
    """Public names whose docstring, or a method's, shows no use."""
    return [node.name for node in public(path) if not any(">>> " in text for text in docstrings(node))]


def docstrings(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    inside = node.body if isinstance(node, ast.ClassDef) else []
    documented = [node, *(one for one in inside if isinstance(one, ast.FunctionDef))]
    return [ast.get_docstring(one) or "" for one in documented]


@pytest.mark.parametrize("name", [name for name in PRIVACY if name != ON_A_GPU])
def test_every_public_name_of_privacy_has_an_example(name: str) -> None:
    assert without_example(MODULES[name]) == []


def test_a_name_without_an_example_is_told(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('def shown():\n    """One.\n\n    >>> 1\n    1\n    """\n\n\ndef bare():\n    """Two."""\n')
    assert without_example(path) == ["bare"]


def test_there_are_examples() -> None:
    assert len(WITH_EXAMPLES) >= 10
    assert ON_A_GPU in MODULES
