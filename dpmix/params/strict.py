"""The one reader of `params.yaml`: YAML 1.2, read as DVC reads it, with nothing that readers of YAML disagree about.

Words are words (`Yes`, `off`, `2024-01-31`), `1e-3` is a number, keys are text as they are written, and a number knows
how it was written, for where a text is wanted. So quotes change nothing but `true`, `null` and the like, and DVC, which
writes the file anew for `dvc exp run -S` and drops quotes that YAML 1.2 does not need, changes no meaning.
"""

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode

from dpmix.params.written import WrittenFloat, WrittenInt

CORE = "tag:yaml.org,2002:"

# Read as the words that they are: dates, and signs that older YAML gives a meaning.
WORDS = ("timestamp", "value", "merge")


class NotYaml(Exception):
    """A text that is not YAML, or that readers of YAML understand in different ways; the message is one line."""


class _Composer(Composer):
    """Makes every key a text, and refuses one that a mapping has twice: `9` and `"9"` are the same."""

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        # Before `<<` adds keys of another mapping, which may be overridden.
        lines: dict[str, int] = {}
        for index, (key, value) in enumerate(node.value):
            if not isinstance(key, ScalarNode):
                raise ConstructorError(None, None, "a list or mapping cannot be a key", key.start_mark)
            if key.tag == f"{CORE}merge":
                continue
            if key.value in lines:
                raise ConstructorError(
                    None, None, f"the key {key.value!r} is there twice, also in line {lines[key.value]}", key.start_mark
                )
            lines[key.value] = key.start_mark.line + 1
            # Another node, because an alias may use this one as a value.
            text = ScalarNode(f"{CORE}str", key.value, key.start_mark, key.end_mark, style=key.style)
            node.value[index] = (text, value)
        return node


class _Constructor(SafeConstructor):
    """Makes texts, numbers, `true`, `false`, `null`, lists and mappings, and nothing else."""

    def construct_yaml_int(self, node: ScalarNode) -> int:
        return WrittenInt(self._number(super().construct_yaml_int, node), node.value)

    def construct_yaml_float(self, node: ScalarNode) -> float:
        return WrittenFloat(self._number(super().construct_yaml_float, node), node.value)

    def _number(self, construct: Any, node: ScalarNode) -> Any:
        try:
            return construct(node)
        except (ValueError, KeyError) as error:
            raise ConstructorError(None, None, f"{node.value:.40} is no number", node.start_mark) from error

    def construct_yaml_bool(self, node: ScalarNode) -> bool:
        return bool(self._number(super().construct_yaml_bool, node))

    def construct_undefined(self, node: Any) -> None:
        raise ConstructorError(None, None, f"the tag {node.tag} means nothing here; remove it", node.start_mark)


_Constructor.yaml_constructors = {None: _Constructor.construct_undefined}
for _kind in ("null", "bool", "int", "float", "str", "seq", "map"):
    _Constructor.add_default_constructor(_kind)
for _kind in WORDS:
    _Constructor.add_default_constructor(_kind, "construct_yaml_str")


def load(text: str) -> Any:
    """The content of a YAML text.

    Raises:
        NotYaml: if it is not YAML, or can be read in several ways.

    >>> load("{ 3: Yes, 1e-3: 1e-3 }")
    {'3': 'Yes', '1e-3': 0.001}
    """
    version = re.match(r"(?:[ \t]*(?:#.*)?\n|%TAG.*\n)*%YAML[ \t]+(\S+)", text.removeprefix("\ufeff"))
    if version and version[1] != "1.2":
        raise NotYaml(f"it says %YAML {version[1]}, whose words and numbers mean something else; remove that line")
    reader = YAML(typ="safe", pure=True)
    reader.Composer = _Composer
    reader.Constructor = _Constructor
    try:
        return reader.load(text)
    except RecursionError as error:
        raise NotYaml("it is nested too deeply") from error
    except YAMLError as error:
        raise NotYaml(_said(error)) from error


def _said(error: YAMLError) -> str:
    """What is wrong, and where, without the lines of the file that the library quotes."""
    if not isinstance(error, MarkedYAMLError):
        return " ".join(str(error).split())
    what = " ".join(str(error.problem or error.context).split())
    if "'\\t'" in what:
        what = "a tab stands where only spaces can"
    mark = error.problem_mark or error.context_mark
    return f"{what} (line {mark.line + 1}, column {mark.column + 1})" if mark else what


def scalar(text: str) -> Any:
    """What a plain word of YAML means: a number, `true`, `false`, `null`, or else the text itself.

    >>> scalar("1e-3"), scalar("off"), scalar("true"), scalar("a: b")
    (0.001, 'off', True, 'a: b')
    """
    try:
        meant = load(text)
    except NotYaml:
        return text
    return text if isinstance(meant, dict | list | str) else meant
