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


@pytest.mark.parametrize(
    ("text", "meant"), [("010", 8), ("-010", -8), ("0_7", 7), ("1:30", 90), ("[1, 0100]", 64), ("x: 00", 0)]
)
def test_a_value_that_is_another_number_than_it_seems_is_refused(tmp_path: Path, text: str, meant: int) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"a: {{batch_size: {text}}}" if ":" not in text or " " not in text else text)
    with pytest.raises(ParamsError, match=f"is read as {meant}; write {meant}, or the number that is meant") as caught:
        load_yaml(path)
    assert "\n" not in str(caught.value)


def test_numbers_that_are_what_they_seem_are_read() -> None:
    text = "[0, -0, 8, +8, 1_000, 0x10, 0b11, 0.10, 1e-5, 1.0e-5, '010', .inf]"
    assert load(text) == yaml.safe_load(text)
    assert load("0") == 0


def test_what_is_merged_may_be_overridden() -> None:
    text = """
x: { y: &a { <<: &b { k: 1, j: 1 }, k: 2 } }
z: { <<: *a, k: 3 }
"""
    assert load(text) == yaml.safe_load(text) == {"x": {"y": {"k": 2, "j": 1}}, "z": {"k": 3, "j": 1}}


def test_what_is_not_safe_is_no_yaml() -> None:
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        load("!!python/object/apply:os.getcwd []")
