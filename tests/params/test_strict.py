"""The params are read as YAML 1.2, as DVC reads them; quotes change nothing, and no key is there twice."""

import io
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dpmix.errors import ParamsError
from dpmix.params.read import load_yaml, parse
from dpmix.params.strict import NotYaml, load, scalar

# What YAML 1.1 takes for true, false, a date, a number of base 60 or a sign of its own.
WORDS = [
    "Yes",
    "no",
    "ON",
    "off",
    "y",
    "N",
    "2024-01-31",
    "2001-13-45",
    "1:30",
    "=",
    "<<x",
    "0o8",
    "Ja",
    ".",
    "-",
    "1_",
    "e3",
]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nepochs: 2\nepochs: 3", "the key 'epochs' is there twice, also in line 2"),
        ('x:\n  9: {}\n  "9": {}', "the key '9' is there twice, also in line 2"),
        ("x:\n  on: {}\n  'on': {}", "the key 'on' is there twice, also in line 2"),
        ("x: {a: {b: 1, b: 1}}", "the key 'b' is there twice, also in line 1"),
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


@pytest.mark.parametrize("word", WORDS[:-2])
def test_a_word_is_a_word(word: str) -> None:
    bare = f"{word}: {word}\nx: [{word}]" if word not in ("-", "=") else f"'{word}': '{word}'\nx: ['{word}']"
    assert load(bare) == load(f"'{word}': \"{word}\"\nx: ['{word}']") == {word: word, "x": [word]}


@pytest.mark.parametrize("key", ["3", "010", "1e-3", "0.50", "true", "Null", "~", "2024-01-31", "1_0", ".inf"])
def test_a_key_is_text_as_it_is_written(key: str) -> None:
    assert list(load(f"{key}: 1")) == list(load(f"'{key}': 1")) == [key]


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-3", 0.001), ("1E3", 1000), ("1.0e-3", 0.001), ("+8", 8), ("0x10", 16), ("0o17", 15), (".5", 0.5), ("-0", 0)],
)
def test_a_number_is_a_number_and_knows_its_text(text: str, number: float) -> None:
    assert load(text) == number
    assert str(load(text)) == text


def test_what_dvc_writes_anew_means_the_same() -> None:
    quoted = {word: [word] for word in ["3", "1e-3", "true", "null", "010", "~", ".inf", "0x10", *WORDS]}
    text = "".join(f'"{word}": ["{word}"]\n' for word in quoted)
    dvc = YAML()  # as DVC's `-S` has it: comments stay, and quotes that YAML 1.2 does not need go
    written = io.StringIO()
    dvc.dump(dvc.load(text), written)
    assert "\nYes: [Yes]\n" in written.getvalue()
    assert load(text) == load(written.getvalue()) == quoted


def test_it_reads_what_dvc_reads(repository: Path) -> None:
    def as_text(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): as_text(one) for key, one in value.items()}
        return [as_text(one) for one in value] if isinstance(value, list) else value

    for path in [repository / "params.yaml", *repository.glob("docs/*/params.yaml")]:
        text = path.read_text(encoding="utf-8")
        assert load(text) == as_text(YAML(typ="safe", pure=True).load(text))


@pytest.mark.parametrize("text", ["010", "-010", "0_7", "00"])
def test_a_number_that_readers_disagree_about_is_refused_where_a_number_is_wanted(
    raw: dict[str, Any], text: str
) -> None:
    raw["scales"]["demo"]["finetune"]["batch_size"] = load(text)
    with pytest.raises(ParamsError) as caught:
        parse(raw)
    number = repr(load(text))
    if load(text) > 0:
        assert str(caught.value) == (
            f"params.yaml: scales.demo.finetune.batch_size: {text} is {number} in YAML 1.2 and not in YAML 1.1; write "
            f"{number}, or what is meant"
        )
    raw["scales"]["demo"]["finetune"]["batch_size"] = 10
    raw["methods"]["self-aug"]["label"] = load(text)
    assert parse(raw).methods["self-aug"].label == text


def test_what_is_merged_may_be_overridden() -> None:
    text = """
x: { y: &a { <<: &b { k: 1, j: 1 }, k: 2 } }
z: { <<: *a, k: 3 }
"""
    assert load(text) == {"x": {"y": {"k": 2, "j": 1}}, "z": {"k": 3, "j": 1}}


def test_a_key_by_its_alias_leaves_what_it_stands_for() -> None:
    assert load("{a: &a 3, *a : 4}") == {"a": 3, "3": 4}


@pytest.mark.parametrize("text", ["!!python/object/apply:os.getcwd []", "!!binary YQ==", "!!set {a}", "!own 3"])
def test_a_tag_makes_no_other_kind_of_value(text: str) -> None:
    with pytest.raises(NotYaml, match=r"means nothing here; remove it \(line 1, column 1\)$"):
        load(text)


@pytest.mark.parametrize("text", ["-_", "0x_", "!!int x", "!!float x", "!!bool x"])
def test_what_looks_like_a_number_and_is_none_is_one_line(text: str) -> None:
    with pytest.raises(NotYaml, match=r"is no number \(line 1, column 1\)$"):
        load(text)


@pytest.mark.parametrize(
    ("text", "meant"), [("3", 3), ("off", "off"), ("true", True), ("[1]", "[1]"), ("a: [", "a: [")]
)
def test_a_word_of_the_command_line_means_what_it_means_in_the_file(text: str, meant: Any) -> None:
    assert scalar(text) == meant
