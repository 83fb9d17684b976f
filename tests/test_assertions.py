"""Of the tests themselves: each asserts something even where a loop of it finds nothing to go through."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

# Calls that fail where something is not as it should be, beside `assert`.
CHECKS = {"raises", "warns", "fail", "validate"}
# Calls that give as many values as they are given, and at least one if all of these give one.
ALIKE = {
    "enumerate",
    "sorted",
    "reversed",
    "list",
    "tuple",
    "set",
    "map",
    "product",
    "items",
    "values",
    "keys",
    "tolist",
}

# Loops that have something to go through, which cannot be read off the text.
KNOWN = ["tests/privacy/test_precision.py: test_low_precision_is_near_and_bounded"]  # n >= 1, by its strategy


class Reading:
    """What is known of a file's names: which are bound to something that has entries, and which functions check."""

    def __init__(self, tree: ast.Module) -> None:
        self.checking, self.full = set[str](), set[str]()
        self.functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        self.imported = {
            one.name for node in froms if (node.module or "").split(".")[0] == "tests" for one in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    pairs = [(target, node.value)]
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        pairs = list(zip(target.elts, node.value.elts, strict=False))
                    self.full |= {one.id for one, value in pairs if isinstance(one, ast.Name) and self.entries(value)}

    def entries(self, value: ast.expr) -> bool:
        """Whether what is written here has an entry for certain (or, of a number, is positive)."""
        match value:
            case ast.Tuple(elts=several) | ast.List(elts=several) | ast.Set(elts=several):
                return any(not isinstance(one, ast.Starred) or self.entries(one.value) for one in several)
            case ast.Dict(keys=keys):
                return any(key is not None for key in keys)
            case ast.Constant(value=str() | int() as constant):
                return bool(constant)
            case ast.Name(id=name):
                return name in self.full or name.isupper()
            case ast.Attribute(attr=name):
                return name.isupper()
            case ast.BinOp(left=left, right=right):
                return self.entries(left) and self.entries(right)
            case (
                ast.ListComp(generators=several)
                | ast.DictComp(generators=several)
                | ast.GeneratorExp(generators=several)
            ):
                return all(self.entries(one.iter) and not one.ifs for one in several)
            case ast.Call(func=function, args=arguments, keywords=keywords):
                name = ast.unparse(function).rpartition(".")[2]
                if name == "range":
                    return self.entries(arguments[-1])
                if name == "zip":
                    strict = any(keyword.arg == "strict" for keyword in keywords)
                    return any(map(self.entries, arguments)) if strict else all(map(self.entries, arguments))
                if name == "linspace":
                    return True
                whose = [function.value] if isinstance(function, ast.Attribute) and not arguments else arguments
                return name in ALIKE and bool(whose) and all(map(self.entries, whose))
        return False

    def sound(self, function: ast.FunctionDef) -> bool:
        """Whether a function makes a check for certain."""
        return any(
            all(isinstance(loop, ast.For) and self.entries(loop.iter) for loop in loops) and self.checks(node)
            for statement in function.body
            if not isinstance(statement, ast.FunctionDef)
            for node, loops in within(statement)
        )

    def checks(self, node: ast.AST) -> bool:
        """Whether this is a check, and not of each of what may be none."""
        if isinstance(node, ast.Assert):
            return not self.of_none(node.test)
        if not isinstance(node, ast.Call):
            return False
        name = ast.unparse(node.func).rpartition(".")[2]
        by_exit = any(keyword.arg == "check" and ast.unparse(keyword.value) == "True" for keyword in node.keywords)
        return name in CHECKS | self.checking or name.startswith("assert_") or by_exit

    def of_none(self, test: ast.expr) -> bool:
        """Whether an assertion is `all(… for … in …)` or `not any(…)` of what may be empty."""
        wanted = "all"
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            test, wanted = test.operand, "any"
        match test:
            case ast.Call(func=ast.Name(id=name), args=[argument]):
                return name == wanted and not self.entries(argument)
        return False


def within(node: ast.AST, loops: tuple[ast.AST, ...] = ()) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    """Every node below this one with the loops around it; what a function defined here would do is not done."""
    yield node, loops
    for inner in ast.iter_child_nodes(node):
        if not isinstance(inner, ast.FunctionDef | ast.Lambda):
            around = (*loops, node) if isinstance(node, ast.For | ast.While) and inner in node.body else loops
            yield from within(inner, around)


def unsound(sources: Iterable[tuple[str, str]]) -> list[str]:
    """The tests, by file and name, of which no check is made for certain."""
    files = {path: Reading(ast.parse(text)) for path, text in sources}
    modules = {Path(path).stem for path in files}
    everywhere: set[str] = set()
    while True:  # a helper may check by another, here or in a file that this one imports it from
        before = len(everywhere)
        for file in files.values():
            # Of a module that is imported whole, whatever it has.
            file.checking |= everywhere if file.imported & modules else file.imported & everywhere
            file.checking |= {function.name for function in file.functions if file.sound(function)}
            everywhere |= file.checking
        if len(everywhere) == before:
            break
    return [
        f"{path}: {function.name}"
        for path, file in files.items()
        for function in file.functions
        if function.name.startswith("test_") and not file.sound(function)
    ]


def test_no_test_asserts_only_in_loops_that_may_be_empty(repository: Path) -> None:
    paths = sorted((repository / "tests").rglob("*.py"))
    assert len(paths) > 50
    sources = [(path.relative_to(repository).as_posix(), path.read_text(encoding="utf-8")) for path in paths]
    assert unsound(sources) == KNOWN


@pytest.mark.parametrize(
    ("body", "fine"),
    [
        ("assert f()", True),
        ("pass", False),
        ("for x in f():\n  assert x", False),
        ("for x in (1, 2):\n  assert x", True),
        ("for x in ():\n  assert x", False),
        ("for x in range(3):\n  for y in f():\n    assert y", False),
        ("xs = [1]\n for x in xs:\n  assert x", True),
        ("assert all(x for x in f())", False),
        ("assert not any(x for x in f())", False),
        ("assert any(x for x in f())", True),
        ("assert all(x for x in 'ab')", True),
        ("while f():\n  assert g()", False),
        ("with pytest.raises(E):\n  f()", True),
        ("helper()", True),
        ("def inner():\n  assert f()\n for x in f():\n  inner()", False),
        ("for a, b in zip(f(), (1, 2), strict=True):\n  assert a", True),
        ("for a, b in zip(f(), (1, 2)):\n  assert a", False),
    ],
)
def test_one_that_does_would_be_found(body: str, fine: bool) -> None:
    text = f"def helper():\n assert f()\n\ndef test_it():\n {body}\n"
    assert (unsound([("file", text)]) == []) == fine
