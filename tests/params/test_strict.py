"""A key that is twice in a mapping of YAML is a mistake, and told with its lines."""

from pathlib import Path

import pytest
import yaml

from dpmix.errors import ParamsError
from dpmix.params.read import load_yaml
from dpmix.params.strict import load


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nepochs: 2\nepochs: 3", "the key 'epochs' is there twice, also in line 2"),
        ('x:\n  9: {}\n  "9": {}', "the key '9' is there twice, also in line 2"),
        ("x: {a: {b: 1, b: 1}}", "the key 'b' is there twice, also in line 1"),
        ("tables:\n  011: {}", "the key 011 is read as 9; write it in quotes"),
        ("1_0: {}", "the key 1_0 is read as 10; write it in quotes"),
    ],
)
def test_a_key_is_there_once(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError) as caught:
        load_yaml(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path} is not valid YAML: {words}")
    assert f"line {text.count(chr(10)) + 1}, column" in line


def test_what_is_merged_may_be_overridden() -> None:
    text = """
x: { y: &a { <<: &b { k: 1, j: 1 }, k: 2 } }
z: { <<: *a, k: 3 }
"""
    assert load(text) == yaml.safe_load(text) == {"x": {"y": {"k": 2, "j": 1}}, "z": {"k": 3, "j": 1}}


def test_what_is_not_safe_is_no_yaml() -> None:
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        load("!!python/object/apply:os.getcwd []")
