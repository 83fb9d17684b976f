"""Every kind of typo in `params.yaml` is one line that names the place and what to do."""

import copy
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.errors import ParamsError
from dpmix.params.read import load_configuration, load_yaml, parse, read
from dpmix.params.settings import Settings
from tests.params.mistakes import Raw, message, put


def test_the_projects_own_parameters_are_right(raw: Raw) -> None:
    params = parse(raw)
    assert params.at() is params.scales["demo"]
    assert params.at("paper") is params.scales["paper"]


def test_numbers_and_names_may_be_written_as_numbers(raw: Raw) -> None:
    demo = raw["scales"]["demo"]
    demo["tables"] = {int(key): table for key, table in demo["tables"].items() if key.isdigit()}
    demo["figures"] = {int(key): figure for key, figure in demo["figures"].items()}
    assert list(parse(raw).scales["demo"].tables) == [str(number) for number in range(1, 14)]


@pytest.mark.parametrize(
    ("place", "meant"),
    [
        ("sacle", "scale"),
        ("datasets/digits/clases", "classes"),
        ("models/tiny-vit/resolutoin", "resolution"),
        ("models/tiny-wrn/depht", "depth"),
        ("diffusion/tiny-diffusion/stps", "steps"),
        ("methods/self-aug/kself", "k_self"),
        ("scales/demo/seed", "seeds"),
        ("scales/demo/finetune/epoch", "epochs"),
        ("scales/demo/tuning/learning_rate", "learning_rates"),
        ("scales/demo/bundle/thread", "threads"),
        ("scales/demo/datasets/digits-300/batchsize", "batch_size"),
        ("scales/demo/dataset_methods/digits/pure-dp-mix-diff/kdiff", "k_diff"),
        ("scales/demo/tables/9/colums", "columns"),
        ("scales/demo/tables/9/fixed/epsilonn", "epsilon"),
        ("scales/demo/tables/9/tuned_as/kbase", "k_base"),
        ("scales/demo/tables/2/rows/0/datasets", "dataset"),
        ("scales/demo/tables/5/rows/0/values/Self-Aug | 2/k_bas", "k_base"),
        ("scales/demo/tables/7/extractor", "extractors"),
        ("scales/demo/tables/7/methods/Self-Aug/transform", "transforms"),
        ("scales/demo/tables/11/row", "rows"),
        ("scales/demo/figures/1/exampel", "example"),
        ("scales/paper/scratch/clip-norm", "clip_norm"),
    ],
)
def test_an_unknown_key_is_named_with_its_place_and_what_was_meant(raw: Raw, place: str, meant: str) -> None:
    line = message(put(raw, place, 3))
    assert line.startswith(f"params.yaml: {place.replace('/', '.')}: unknown key; did you mean {meant!r}?")


@pytest.mark.parametrize("value", [0, -1, -0.5, math.nan, "one", [1]])
@pytest.mark.parametrize("place", ["scales/demo/tables/9/fixed/epsilon", "scales/paper/tables/2/columns/0/epsilon/1"])
def test_an_epsilon_is_a_positive_number(raw: Raw, place: str, value: Any) -> None:
    line = message(put(raw, place, value))
    assert line.startswith(f"params.yaml: {place.replace('/', '.')}: should be ")
    if not isinstance(value, list):
        assert line.endswith(f"not {value!r}")


def test_mixing_needs_something_to_mix(raw: Raw) -> None:
    """K_SELF > 0 with an empty S, in the method, in a table, and where only its part on one data set is to blame."""
    method = put(copy.deepcopy(raw), "methods/dp-mix-self/k_base", 0)
    assert "dp-mix-self: S is empty, so there is nothing to mix; raise k_base or k_diff" in message(method)
    table = put(copy.deepcopy(raw), "scales/demo/tables/9/fixed/k_base", 0)
    table["scales"]["demo"]["tables"]["9"]["columns"][0] = {"axis": "K_BASE", "k_base": [0, 2, 3]}
    assert message(table).startswith("params.yaml: table 9, 0 / 2 / 0: ")
    dataset = put(copy.deepcopy(raw), "scales/paper/dataset_methods/cifar-100/pure-dp-mix-diff/k_diff", 0)
    assert "CIFAR-100" in message(dataset) or "table 12" in message(dataset)


def test_a_pair_needs_two_members(raw: Raw) -> None:
    line = message(put(raw, "methods/dp-mix-self/k_base", 1))
    assert "needs at least two members in S; raise k_base or k_diff" in line


@pytest.mark.parametrize(
    ("place", "wrong", "hint"),
    [
        ("scales/demo/tables/2/rows/0/dataset/0", "digit", "dataset in table 2"),
        ("scales/demo/tables/9/fixed/dataset", "digit-300", "dataset in table 9"),
        ("scales/demo/tables/8/datasets/0", "digit", "dataset in table 8"),
        ("scales/demo/figures/2/datasets/0", "digit", "dataset in figure 2"),
        ("scales/demo/tables/9/fixed/model", "tiny-vti", "model in table 9"),
        ("scales/demo/tables/7/model", "tiny-vti", "model in table 7"),
        ("scales/demo/tables/7/extractors/0", "incepton", "extractor in table 7"),
        ("scales/demo/tables/9/fixed/method", "dp-mix-dif", "method in table 9"),
        ("scales/demo/tables/2/rows/1/method/0", "self-agu", "method in table 2"),
        ("scales/demo/figures/2/methods/0", "self-agu", "method in figure 2"),
        ("scales/demo/synthetic", "tiny-difusion", "diffusion model in scales.demo.synthetic"),
        ("datasets/digits-300/parent", "digts", "parent of digits-300"),
        ("scale", "dmo", "scale"),
    ],
)
def test_an_unknown_name_comes_with_the_closest_known_one(raw: Raw, place: str, wrong: str, hint: str) -> None:
    line = message(put(raw, place, wrong))
    what, _, where = hint.partition(" in ")
    assert line.startswith(f"params.yaml: unknown {what} {wrong!r}{f' in {where}' if where else ''}")
    assert "; did you mean " in line


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("scales/demo/datasets", {"digts": {"epochs": 1}}),
        ("scales/demo/synthetic_size", {"digts": 10}),
        ("scales/demo/dataset_methods", {"digts": {}}),
        ("scales/demo/dataset_methods", {"digits": {"self-agu": {}}}),
        ("scales/demo/tables/1/omit", [{"Methd": "DP-SGD"}]),
        ("scales/demo/tables/1/omit", [{"Method": "DP-SGG"}]),
    ],
)
def test_a_setting_for_nothing_is_not_passed_over(raw: Raw, place: str, value: Any) -> None:
    assert "did you mean" in message(put(raw, place, value))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("scales", None, "scales: should be a mapping"),
        ("scales", [1], "scales: should be a mapping"),
        ("scales/demo", 3, "scales.demo: should be a mapping"),
        ("scales/demo/tables", [1], "scales.demo.tables: should be a mapping"),
        ("datasets", ["digits"], "datasets: should be a mapping"),
        ("datasets/digits", "digits", "datasets.digits: should be a mapping"),
        (
            "scales/demo/finetune/learning_rate",
            "tunde",
            "learning_rate: should be a number or 'tuned' or a mapping, not 'tunde'; did you mean 'tuned'?",
        ),
        ("scales/demo/finetune/learning_rate", -1, "should be greater than 0 or 'tuned' or a mapping, not -1"),
        ("methods/mixed-ghost/clip_norm", "small", "clip_norm: should be a number, not 'small'"),
        ("scales/demo/seeds", "1, 2, 3", "seeds: should be a list, not '1, 2, 3'; write [1, 2, 3]"),
        ("scales/demo/finetune/transforms", "crop", "transforms: should be a list, not 'crop'; write [crop]"),
        ("scales/demo/finetune/learning_rate", None, "learning_rate is not set; give a number, or `tuned`"),
        ("scales/demo/scratch/learning_rate", "tuned", "trained from scratch is not tuned; give learning_rate"),
        ("scales/demo/scratch/learning_rate", {"1": 0.5}, "learning_rate has no entry for ε = 8; add one"),
        ("methods/self-aug/k_self", -1, "k_self: should be greater than or equal to 0, not -1"),
        ("methods/self-aug/label", "DP-Mix_Self", "two cells are labelled digits / DP-Mix_Self / ε = 1; rename one"),
        ("scales/demo/figures/2/model", "tiny-wrn", "figure 2: tiny-wrn is not an encoder"),
        ("scales/demo/figures/1/methods", ["self-aug", "dp-mix-self"], "figure 1: it shows the views of one example"),
        ("methods/self-aug/record_gradients", True, "methods.self-aug.record_gradients: unknown key; "),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(raw: Raw, place: str, value: Any, words: str) -> None:
    assert words in message(put(raw, place, value))


def test_what_is_missing_is_named(raw: Raw) -> None:
    del raw["methods"]
    assert message(raw) == "params.yaml: methods: is needed, but not there; add it"


def test_several_mistakes_are_counted(raw: Raw) -> None:
    put(put(raw, "scales/demo/finetune/epochs", 0), "methods/self-aug/kself", 1)
    line = message(raw)
    assert "methods.self-aug.kself" in line
    assert line.endswith("(and 1 more)")


@pytest.mark.parametrize("content", [[1], "x", 3])
def test_the_file_is_a_mapping(content: Any) -> None:
    assert message(content).startswith("params.yaml: the file is no mapping; write keys at its top level: scale")


def test_a_file_of_nothing_is_said_to_be_empty() -> None:
    assert message(None).startswith("params.yaml: the file is empty; ")


def test_a_file_that_is_not_there_or_not_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    with pytest.raises(ParamsError, match="does not exist; run from the repository's root"):
        read(path)
    path.write_text("scale: demo\n  seeds: [1\n")
    with pytest.raises(ParamsError) as caught:
        read(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path} is not valid YAML: ")
    assert line.endswith("; correct it there")
    assert "line 2" in line


def test_a_folder_in_the_files_place_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{tmp_path} cannot be read (Is a directory); pass a YAML file by --params"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("scale: demo".encode("utf-16"), "is not UTF-8 but UTF-16; save it as UTF-8"),
        ("a: 1\nlabel: für".encode("latin-1"), "is not UTF-8 but something else in line 2; save it as UTF-8"),
        (b"a:\n\tb: 1", "is not valid YAML: a tab stands where only spaces can (line 2, column 1); correct it there"),
        (b"a: [1", "is not valid YAML: "),
        (b"a: \x00", "is not valid YAML: "),
        (b"a: 1\n---\nb: 1", "is not valid YAML: "),
        (
            b"%YAML 1.1\n---\na: yes",
            "is not valid YAML: it says %YAML 1.1, whose words and numbers mean something else",
        ),
        (b"# 1\n\n%YAML 1.1\n---\na: yes", "is not valid YAML: it says %YAML 1.1, "),
        (b"? [a]\n: 1", "is not valid YAML: a list or mapping cannot be a key (line 1, column 3)"),
        (b"a: *b", "is not valid YAML: found undefined alias 'b' (line 1, column 4)"),
        (10_000 * b"[", "is not valid YAML: "),
    ],
)
def test_what_is_no_text_of_yaml_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(content)
    for door in (lambda: read(path), lambda: load_configuration([path], {})):
        with pytest.raises(ParamsError) as caught:
            door()
        assert str(caught.value).startswith(f"{path} {words}")
        assert "\n" not in str(caught.value)


def test_a_mark_that_says_utf_8_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("scale: démo", encoding="utf-8-sig")
    assert load_yaml(path) == {"scale": "démo"}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"scale": "paper"}, {"scale": "paper", "a": {"b": 1, "c": [2]}}),
        ({"scale": 3}, {"scale": 3, "a": {"b": 1, "c": [2]}}),
        # Inside a mapping Snakemake gives every word as a text.
        ({"a": {"b": "1e-3"}}, {"scale": "demo", "a": {"b": 0.001, "c": [2]}}),
        ({"a": {"c": ["off", "true", "2"]}}, {"scale": "demo", "a": {"b": 1, "c": ["off", True, 2]}}),
        ({"d": {"on": "null"}}, {"scale": "demo", "a": {"b": 1, "c": [2]}, "d": {"on": None}}),
    ],
)
def test_the_command_line_lies_over_the_file(tmp_path: Path, given: Raw, meant: Raw) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("scale: demo\na: { b: 1, c: [2] }")
    assert load_configuration([path], given) == meant


def test_two_files_for_one_call_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        load_configuration(["params.yaml", "my.yaml"], {})
    assert str(caught.value) == (
        "--configfile names several files, params.yaml, my.yaml; name one, which has all, and targets "
        "before it or after --"
    )


def test_a_file_that_is_no_mapping_is_the_same_line_at_every_door(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    for content, words in (
        ("- a", "the file is no mapping"),
        ("", "the file is empty"),
        ("x", "the file is no mapping"),
    ):
        path.write_text(content)
        for door in (lambda: read(path), lambda: load_configuration([path], {"scale": "demo"})):
            with pytest.raises(ParamsError, match=f"params.yaml: {words}; "):
                door()


def test_settings_lie_over_each_other() -> None:
    base, over = Settings(epsilon=1, epochs=5, transforms=("crop",)), Settings(epsilon=8, transforms=())
    both = over.over(base)
    assert (both.epsilon, both.epochs, both.transforms) == (8, 5, ())
    assert base.epsilon == 1


def test_the_command_line_prints_the_line_and_nothing_else(raw: Raw, tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(put(raw, "scales/demo/tables/9/fixed/epsilon", 0)))
    run = subprocess.run(
        [sys.executable, "-m", "dpmix", "check", "--params", str(path)], cwd=repository, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == f"error: {path}: scales.demo.tables.9.fixed.epsilon: should be greater than 0, not 0\n"
