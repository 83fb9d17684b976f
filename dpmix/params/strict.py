"""YAML as the params are read: the safe part of it, in which a key that is there twice is a mistake."""

from typing import Any

import yaml
from yaml.constructor import ConstructorError

MERGE = "tag:yaml.org,2002:merge"
INTEGER = "tag:yaml.org,2002:int"


class StrictLoader(yaml.SafeLoader):
    """PyYAML's `SafeLoader`, which by itself keeps the last of several equal keys and says nothing.

    It refuses, as an error of YAML with its line, a key that a mapping has twice (`9` and `"9"` are the same), and a
    key such as `011`, which YAML reads as another whole number than it seems to be.
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
            if key.tag == INTEGER and str(meant := self.construct_yaml_int(key)) != key.value:
                raise ConstructorError(
                    None, None, f"the key {key.value} is read as {meant}; write it in quotes", key.start_mark
                )
            if key.value in lines:
                raise ConstructorError(
                    None, None, f"the key {key.value!r} is there twice, also in line {lines[key.value]}", key.start_mark
                )
            lines[key.value] = key.start_mark.line + 1
        return node


def load(file: Any) -> Any:
    """The content of an open YAML file.

    Raises:
        yaml.YAMLError: if it is not YAML, or `StrictLoader` refuses it.
    """
    return yaml.load(file, Loader=StrictLoader)  # a safe loader
