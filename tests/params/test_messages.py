"""A mistake in `params.yaml` is told in plain words, at its place, and once."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.params.read import parse

Raw = dict[str, Any]
TABLE = "scales/demo/tables/9"
NAMED = "a name has letters, digits and . _ + - only"
QUOTES = "which is not text; write it in quotes"


@pytest.fixture(scope="module")
def original(repository: Path) -> Raw:
    return yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))


def message(original: Raw, place: str, value: Any) -> str:
    """The line that refuses the project's parameters with this value at this place, without the file's name."""
    raw = copy.deepcopy(original)
    here: Any = raw
    *path, last = place.split("/")
    for part in path:
        here = here[int(part) if isinstance(here, list) else part]
    here[int(last) if isinstance(here, list) else last] = value
    with pytest.raises(ParamsError) as caught:
        Catalogue(parse(raw), "demo")
    line = str(caught.value).removeprefix("params.yaml: ")
    assert not [word for word in ("Value error", "Input", "String should", "valid") if word in line]
    return line


@pytest.mark.parametrize(
    ("place", "value", "line"),
    [
        (f"{TABLE}/columns/0", {"axis": "A", "values": {True: {}}}, f"values.True: the key is read as True, {QUOTES}"),
        ("scales/demo/tables", {"my.table": {"kind": "runtime"}}, "tables.my.table: a table is named 1 to 13, as the"),
        ("scales/demo/tables", {0.5: {"kind": "runtime"}}, "tables.0.5: a table is named 1 to 13, as the paper's, or"),
        ("scales/demo/finetune/learning_rate", {"a": 1}, "the key should be a number, not 'a'"),
        ("scales/demo/finetune/learning_rate", {"0": 1}, "the key should be greater than 0, not '0'"),
    ],
)
def test_a_key_is_told_what_a_key_there_should_be(original: Raw, place: str, value: Any, line: str) -> None:
    said = message(original, place, value)
    assert line in said
    assert "figure" not in said


def test_whole_numbers_may_be_keys_anywhere(original: Raw) -> None:
    raw = copy.deepcopy(original)
    raw["methods"][5] = {"label": "Five"}
    raw["datasets"][6] = raw["datasets"]["digits"]
    raw["scales"]["demo"]["tables"]["9"]["columns"][0] = {"axis": "K_BASE", "values": {2: {"k_base": 2}}}
    params = parse(raw)
    assert params.methods["5"].label == "Five"
    assert params.datasets["6"].name == "6"
    assert Catalogue(params, "demo").cells("9")[0].column[0] == "2"


@pytest.mark.parametrize("value", [math.inf, math.nan, -math.inf])
@pytest.mark.parametrize(
    "place",
    [
        "scales/demo/finetune/learning_rate",
        "methods/self-aug/clip_norm",
        "methods/self-aug/weight_decay",
        "scales/demo/tuning/learning_rates/0",
        "diffusion/tiny-diffusion/guidance_scale",
    ],
)
def test_a_number_is_finite(original: Raw, place: str, value: float) -> None:
    line = message(original, place, value)
    assert line.startswith(place.replace("/", ".") + ": should be a finite number")
    assert line.endswith(f"not {value!r}")


def test_epsilon_alone_may_be_infinite(original: Raw) -> None:
    raw = copy.deepcopy(original)
    raw["scales"]["demo"]["tables"]["9"]["fixed"]["epsilon"] = math.inf
    raw["scales"]["demo"]["finetune"]["learning_rate"] = {1: 2, 2: 2, 4: 2, 8: 2, math.inf: 3}
    runs = [one for cell in Catalogue(parse(raw), "demo").cells("9") for one in cell.artefacts]
    assert {(one.epsilon, one.learning_rate) for one in runs} == {(math.inf, 3)}


@pytest.mark.parametrize(
    ("place", "value", "line"),
    [
        (
            "diffusion/tiny-diffusion/prompt",
            "a photo",
            "prompt: the prompt 'a photo' does not name the class; write {}",
        ),
        ("diffusion/tiny-diffusion/prompt", "{} {x}", "prompt: the prompt '{} {x}' has other braces than one {}; "),
        ("diffusion/tiny-diffusion/scheduler", "DDIMSheduler", "did you mean 'DDIMScheduler'?"),
        ("diffusion/tiny-diffusion/resolution", 20, "resolution: should be a multiple of 8, not 20"),
    ],
)
def test_a_text_to_image_model_is_checked_before_it_draws(original: Raw, place: str, value: Any, line: str) -> None:
    assert line in message(original, place, value)


@pytest.mark.parametrize("name", ["../../x", "a/b", "{x}", "", "a\n", "-x", "a b", "x" * 101])
@pytest.mark.parametrize("part", ["datasets", "models", "diffusion", "methods", "scales"])
def test_a_name_can_stand_in_a_path(original: Raw, part: str, name: str) -> None:
    raw = copy.deepcopy(original)
    raw[part][name] = next(iter(raw[part].values()))
    with pytest.raises(ParamsError) as caught:
        parse(raw)
    assert str(caught.value).startswith(f"params.yaml: {part}.{name}: {NAMED}")
    assert str(caught.value).endswith("; rename it")


@pytest.mark.parametrize(
    ("place", "value", "line"),
    [
        (
            "scales/demo/prompts",
            ["x"],
            "prompts.0: the prompt 'x' does not name the class; write {} where the name goes",
        ),
        (f"{TABLE}/title", "", "scales.demo.tables.9.title: should not be empty"),
        ("methods/self-aug/label", " ", "methods.self-aug.label: should not be empty"),
        (f"{TABLE}/title", [1], "scales.demo.tables.9.title: should be a text"),
        (f"{TABLE}/title", True, "scales.demo.tables.9.title: should be a text, not True"),
        ("scales/demo/finetune/transforms", {"crop": 1}, "scales.demo.finetune.transforms: should be a list"),
    ],
)
def test_pydantics_words_are_replaced(original: Raw, place: str, value: Any, line: str) -> None:
    said = message(original, place, value)
    assert said.endswith(line)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (f"{TABLE}/columns/0", {"axis": "ε", "epsilon": []}),
        (f"{TABLE}/columns/0", {"axis": "A", "values": {}}),
        (f"{TABLE}/columns/0", {"axis": "Dataset", "dataset": []}),
        ("scales/demo/tables/7/datasets", []),
        ("scales/demo/tables/7/extractors", []),
        ("scales/demo/tables/1/omit", [{}]),
        ("scales/demo/figures/2/datasets", []),
        ("scales/demo/figures/2/methods", []),
        ("scales", {}),
    ],
)
def test_a_list_of_nothing_makes_no_empty_table(original: Raw, place: str, value: Any) -> None:
    assert message(original, place, value).endswith(": should have at least one entry")


@pytest.mark.parametrize("label", ["two\nlines", " x", "x  y", "", "bell\a"])
def test_a_label_that_is_a_key_is_as_it_is_shown(original: Raw, label: str) -> None:
    line = message(original, f"{TABLE}/columns/0", {"axis": "A", "values": {label: {"k_base": 2}}})
    assert "label is not empty, and has single spaces" in line or "cannot be printed" in line


def test_white_space_of_labels_and_captions_is_collapsed(original: Raw) -> None:
    raw = copy.deepcopy(original)
    raw["methods"]["self-aug"]["label"] = "Self\n Aug\n"
    raw["scales"]["demo"]["tables"]["9"]["caption"] = "One\nline.\n"
    params = parse(raw)
    assert params.methods["self-aug"].label == "Self Aug"
    assert params.scales["demo"].tables["9"].caption == "One line."


@pytest.mark.parametrize(
    ("place", "value"),
    [("methods/self-aug/label", "a\x1b[31m"), (f"{TABLE}/title", "a\x00"), ("datasets/digits/label", "\u202ea")],
)
def test_what_cannot_be_printed_is_refused(original: Raw, place: str, value: str) -> None:
    assert "has characters that cannot be printed; remove them" in message(original, place, value)


def test_a_table_of_one_cell_is_named_alone(original: Raw) -> None:
    table = {"kind": "accuracy", "title": "Added", "fixed": {"model": "tiny-vit", "method": "self-aug", "epsilon": 1}}
    line = message(original, "scales/demo/tables", {"added": table})
    assert line == "table added: no dataset is given; name one in a row, a column or fixed"


def test_an_unknown_name_stands_beside_what_it_should_be(original: Raw) -> None:
    line = message(original, f"{TABLE}/fixed/dataset", "mnist")
    assert line.startswith("unknown dataset 'mnist' in table 9, 2 / 2 / 0; there are digits, ")
