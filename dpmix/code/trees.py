"""Syntax trees as words, the same in every version of Python, without what does not compute."""

import ast
from collections.abc import Iterator

_NOTES = frozenset({"ctx", "kind", "type_comment", "type_ignores", "type_params", "returns"})


def fields(node: ast.AST) -> Iterator[tuple[str, list[ast.AST] | list[object]]]:
    """What a node holds that computes: nothing of docstrings, annotations of arguments, and the texts of errors."""
    for name, value in ast.iter_fields(node):
        # The annotations of a class are its fields; those of arguments and variables are notes.
        if name in _NOTES or (name == "annotation" and isinstance(node, ast.arg)):
            continue
        if name == "body" and documented(node):
            value = value[1:]
        elif isinstance(node, ast.Raise) and name == "exc" and isinstance(value, ast.Call):
            value = value.func
        yield name, value if isinstance(value, list) else [value]


def words(node: ast.AST) -> Iterator[str]:
    """A node as words."""
    yield f"({type(node).__name__}"
    for name, values in fields(node):
        for one in values:
            if isinstance(one, ast.AST):
                yield name
                yield from words(one)
            elif one is not None or len(values) > 1:  # one of a list's, such as that of `**more` among a dict's keys
                yield f"{name}={one!r}"
    yield ")"


def computing(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it that computes."""
    yield node
    for _, values in fields(node):
        for one in values:
            if isinstance(one, ast.AST):
                yield from computing(one)


def documented(node: ast.AST) -> bool:
    """Whether the first statement of a module, class or function is its docstring."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
        return False
    first = node.body[0]
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
