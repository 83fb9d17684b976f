"""The public face: what `dpmix` exports is what docs/api.md says, to the last default, and its examples run."""

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt

import dpmix

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
ANNOUNCE = (
    "the public face is not what docs/api.md says. If the change is meant, write it into docs/api.md (what goes in, "
    "what comes out, what is raised, an example) and name it in CHANGELOG.md under Unreleased; if not, undo it. "
    "Now it is:\n\n"
)


class Section(NamedTuple):
    """What the page says of one name: the group of its heading, its declaration, and its examples."""

    group: str
    declaration: str
    examples: str


def sections() -> dict[str, Section]:
    """The page's sections by name: third-level headings that are one name in code style."""
    found: dict[str, Section] = {}
    group, name = "", None
    for before, token in pairwise(MarkdownIt("commonmark").parse(PAGE.read_text(encoding="utf-8"))):
        if token.type == "inline" and before.type == "heading_open":
            named = re.fullmatch(r"`(\w+)`", token.content)
            name = named[1] if named else None
            if before.tag == "h2":
                group = token.content
            elif name:
                assert name not in found, f"{name} has two sections"
                found[name] = Section(group, "", "")
        elif token.type == "fence" and name and token.info == "python":
            found[name] = found[name]._replace(declaration=token.content)
        elif token.type == "fence" and name and token.info == "pycon":
            found[name] = found[name]._replace(examples=found[name].examples + token.content)
    return found


def preparation() -> str:
    """The page's first example, which every other one builds on."""
    tokens = MarkdownIt("commonmark").parse(PAGE.read_text(encoding="utf-8"))
    return next(token.content for token in tokens if token.type == "fence" and token.info == "pycon")


# Declarations ---------------------------------------------------------------------------------------------------------


def declaration(name: str) -> str:
    """How a public name is declared in its module, without bodies and private parts, under its public name."""
    module, there = dpmix._HOMES[name]
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    node = next(one for one in tree.body if isinstance(one, ast.FunctionDef | ast.ClassDef) and one.name == there)
    node.name = name
    return ast.unparse(ast.fix_missing_locations(_public(node)))


def _public(node: ast.FunctionDef | ast.ClassDef) -> ast.stmt:
    node.decorator_list = [
        one for one in node.decorator_list if ast.unparse(one) not in ("override", "torch.no_grad()")
    ]
    if isinstance(node, ast.FunctionDef):
        node.body = [ast.Expr(ast.Constant(...))]
        return node
    kept = []
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name != "__post_init__":
            if not part.name.startswith("_") or part.name.endswith("__"):
                kept.append(_public(part))
        elif isinstance(part, ast.AnnAssign) and not ast.unparse(part.target).startswith("_"):
            kept.append(part)
    node.body = kept or [ast.Expr(ast.Constant(...))]
    return node


def same(one: str, other: str) -> bool:
    """Whether two declarations are the same but for line breaks and quotes around annotations."""
    return _plain(one) == _plain(other)


def _plain(declared: str) -> str:
    return re.sub(r"[\"']", "", ast.unparse(ast.parse(declared)))


# Tests ----------------------------------------------------------------------------------------------------------------


def test_the_page_has_a_section_for_each_exported_name_and_no_other() -> None:
    assert set(sections()) == set(dpmix._HOMES), ANNOUNCE + "\n".join(sorted(dpmix._HOMES))
    assert set(dir(dpmix)) == {*dpmix._HOMES, "__version__"}


@pytest.mark.parametrize("name", sorted(dpmix._HOMES))
def test_a_declaration_is_what_the_page_says(name: str) -> None:
    said, declared = sections()[name].declaration, declaration(name)
    assert same(said, declared), ANNOUNCE + declared


@pytest.mark.parametrize("name", sorted(dpmix._HOMES))
def test_the_page_shows_a_use_of_each_name(name: str) -> None:
    assert re.search(rf"\bdpmix\.{name}\b", sections()[name].examples)


@pytest.mark.parametrize("group", sorted({section.group for section in sections().values()}))
def test_the_pages_examples_run(group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    variables: dict[str, object] = {}
    sources = {name: section.examples for name, section in sections().items() if section.group == group}
    for name, source in {"preparation": preparation(), **sources}.items():
        test = doctest.DocTestParser().get_doctest(source, variables, name, f"docs/api.md, {name}", 0)
        told: list[str] = []
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append, clear_globs=False)
        variables = test.globs
        assert result.attempted > 0
        assert result.failed == 0, "".join(told)


def test_a_changed_default_is_noticed() -> None:
    declared = declaration("epsilon_lower_bound")
    assert not same(declared, declared.replace("confidence: float=0.95", "confidence: float=0.9"))
    assert not same(declared, declared.replace("seed: int=0", ""))
    assert same(declared, declared.replace(", ", ",\n    "))


@pytest.mark.parametrize("name", sorted(dpmix._HOMES))
def test_a_name_is_the_object_of_its_module(name: str) -> None:
    module, there = dpmix._HOMES[name]
    assert getattr(dpmix, name) is getattr(importlib.import_module(module), there)


def test_type_checkers_see_what_is_exported() -> None:
    tree = ast.parse(inspect.getsource(dpmix))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname or alias.name: (node.module, alias.name) for node in imports for alias in node.names}
    assert seen == dpmix._HOMES
    assert sorted(dpmix.__all__) == sorted(seen)


def test_a_mistyped_name_is_answered_with_the_nearest() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import dpmix; dpmix.cliped_sum"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "Did you mean: 'clipped_sum'?" in run.stderr
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from dpmix import nothing")


def test_importing_the_package_takes_less_than_a_tenth_of_a_second_and_loads_no_torch() -> None:
    script = textwrap.dedent("""
        import sys, time
        before = time.process_time()
        import dpmix
        print(time.process_time() - before, "torch" in sys.modules or "numpy" in sys.modules)
    """)
    runs = [subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True) for _ in range(3)]
    assert {run.stdout.split()[1] for run in runs} == {"False"}
    # The best of three: the first may compile bytecode.
    assert min(float(run.stdout.split()[0]) for run in runs) < 0.1


def test_type_checkers_are_not_told_of_the_lazy_import() -> None:
    """With a `__getattr__` in sight they would accept every name."""
    unconditional = ast.parse(inspect.getsource(dpmix)).body
    assert "__getattr__" not in [node.name for node in unconditional if isinstance(node, ast.FunctionDef)]
