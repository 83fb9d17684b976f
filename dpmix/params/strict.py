"""YAML as the params are read: the safe part of it, in which a key that is there twice is a mistake."""

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

MERGE = "tag:yaml.org,2002:merge"
INTEGER = "tag:yaml.org,2002:int"


class StrictLoader(yaml.SafeLoader):
    """PyYAML's `SafeLoader`, which by itself keeps the last of several equal keys and says nothing.

    It refuses, as an error of YAML with its line, a key that a mapping has twice (`9` and `"9"` are the same), and a
    key such as `011`, which YAML reads as another whole number than it seems to be. The same of a value: `010` is 8 and
    `1:30` is 90 in YAML, and none of them is what was meant.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping, of which the keys are looked at.

        Raises:
            ConstructorError: for the first key that is refused.
        """
        # Keys are compared as they are written, before `<<` adds those of another mapping, which may be overridden.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)  # type: ignore[no-untyped-call]
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            if key.tag == INTEGER and str(meant := super().construct_yaml_int(key)) != key.value:
                raise ConstructorError(
                    None, None, f"the key {key.value} is read as {meant}; write it in quotes", key.start_mark
                )
            if key.value in lines:
                raise ConstructorError(
                    None, None, f"the key {key.value!r} is there twice, also in line {lines[key.value]}", key.start_mark
                )
            lines[key.value] = key.start_mark.line + 1
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number.

        Raises:
            ConstructorError: if it is written in base 8 or base 60.
        """
        meant: int = super().construct_yaml_int(node)  # type: ignore[no-untyped-call]
        if ":" in node.value or re.match("[-+]?0[0-9_]", node.value):
            raise ConstructorError(
                None, None, f"{node.value} is read as {meant}; write {meant}, or the number that is meant",
                node.start_mark,
            )  # fmt: skip
        return meant


StrictLoader.add_constructor(INTEGER, StrictLoader.construct_yaml_int)


def load(file: Any) -> Any:
    """The content of an open YAML file.

    Raises:
        yaml.YAMLError: if it is not YAML, or `StrictLoader` refuses it.
    """
    return yaml.load(file, Loader=StrictLoader)  # a safe loader
