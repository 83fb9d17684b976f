"""Every kind of typo in `params.yaml` is one line that names the place and what to do.

What may stand there is in `params.models`, `params.scales`, `params.specs` and `params.tables`; `params.messages` has
the words.
"""

import copy
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.params.read import parse, read
from dpmix.params.settings import Settings
from dpmix.params.specs import GivenImagesSpec

Raw = dict[str, Any]


@pytest.fixture(scope="module")
def original(repository: Path) -> Raw:
    return yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def raw(original: Raw) -> Raw:
    """The project's own parameters, to be broken."""
    return copy.deepcopy(original)


def put(raw: Raw, place: str, value: Any) -> Raw:
    """Set what stands at a place such as `scales/demo/seeds/0`; a new key is added."""
    here: Any = raw
    *path, last = (int(part) if part.isdigit() and len(part) == 1 else part for part in place.split("/"))
    for part in path:
        # Tables are numbered by text, list entries by position.
        here = here[str(part) if isinstance(here, dict) else part]
    here[str(last) if isinstance(here, dict) else last] = value
    return raw


def message(raw: Any) -> str:
    """The one line that refuses these parameters, by name or when their experiments are resolved."""

    def resolve() -> None:
        params = parse(raw)
        for scale in params.scales:
            Catalogue(params, scale)

    with pytest.raises(ParamsError) as caught:
        resolve()
    (line,) = str(caught.value).splitlines()
    assert line.startswith("params.yaml: ")
    assert "Value error" not in line
    assert "Input" not in line
    return line


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


def test_an_unknown_transform_is_named(raw: Raw) -> None:
    assert message(put(raw, "scales/demo/finetune/transforms", ["corp"])).endswith("'corp'; did you mean 'crop'?")


@pytest.mark.parametrize(
    ("place", "size", "words"),
    [
        ("scales/demo/scratch/batch_size", 1438, "exceeds the 1437 training images"),
        ("scales/paper/finetune/batch_size", 50_000, "exceeds the 45000 images that the tuning run trains on"),
        ("scales/demo/datasets/digits-300/batch_size", 301, "exceeds the "),
    ],
)
def test_a_batch_is_no_larger_than_the_data(raw: Raw, place: str, size: int, words: str) -> None:
    line = message(put(raw, place, size))
    assert f"batch_size {size} {words}" in line
    assert line.endswith("lower it")


def test_no_more_synthetic_images_are_drawn_than_there_are(raw: Raw) -> None:
    line = message(put(raw, "scales/demo/synthetic_size", {"digits": 1}))
    assert "k_diff 2 exceeds the 1 images to draw from" in line


def test_the_paper_has_thirteen_tables_and_two_figures(raw: Raw) -> None:
    demo = raw["scales"]["demo"]
    line = message(put(copy.deepcopy(raw), "scales/demo/tables/14", demo["tables"]["9"]))
    assert line == (
        "params.yaml: scales.demo.tables.14: a table is named 1 to 13, as the paper's, or by lower-case words joined "
        "by underscores (at most 60 characters), such as my_clipping; rename or remove it"
    )
    line = message(put(copy.deepcopy(raw), "scales/demo/figures/3", demo["figures"]["2"]))
    assert line == "params.yaml: scales.demo.figures.3: the paper has no such figure, only 1 and 2; rename or remove it"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("scales", None, "scales: should be a mapping"),
        ("scales", [1], "scales: should be a mapping"),
        ("scales/demo", 3, "scales.demo: should be a mapping"),
        ("scales/demo/tables", [1], "scales.demo.tables: should be a mapping"),
        ("datasets", ["digits"], "datasets: should be a mapping"),
        ("datasets/digits", "digits", "datasets.digits: should be a mapping"),
        ("scales/demo/tables/9/kind", "acuracy", "tables.9: unknown kind 'acuracy'; did you mean 'accuracy'?"),
        (
            "scales/demo/finetune/learning_rate",
            "tunde",
            "learning_rate: should be a number or 'tuned' or a mapping, not 'tunde'; did you mean 'tuned'?",
        ),
        ("scales/demo/finetune/learning_rate", -1, "should be greater than 0 or 'tuned' or a mapping, not -1"),
        ("methods/mixed-ghost/clip_norm", "small", "clip_norm: should be a number, not 'small'"),
        ("scales/demo/seeds", "1, 2, 3", "seeds: should be a list, not '1, 2, 3'; write [1, 2, 3]"),
        ("scales/demo/finetune/transforms", "crop", "transforms: should be a list, not 'crop'; write [crop]"),
        ("scales/demo/finetune/epochs", 1.5, "epochs: should be a whole number, not 1.5"),
        ("scales/demo/finetune/learning_rate", None, "learning_rate is not set; give a number, or `tuned`"),
        ("scales/demo/scratch/learning_rate", "tuned", "trained from scratch is not tuned; give learning_rate"),
        ("scales/demo/scratch/learning_rate", {"1": 0.5}, "learning_rate has no entry for ε = 8; add one"),
        ("scales/demo/finetune/delta", 1, "delta: should be less than 1, not 1"),
        ("scales/demo/finetune/accountant", "rpd", "should be 'rdp', 'prv' or 'pld', not 'rpd'; did you mean 'rdp'?"),
        ("scales/demo/finetune/epochs", 0, "epochs: should be greater than 0, not 0"),
        ("scales/demo/seeds", [], "seeds: should have at least one entry"),
        ("scales/demo/seeds", [1, 1], "seeds: a seed is listed twice"),
        ("scales/demo/seeds", [-1], "seeds.0: should be greater than or equal to 0, not -1"),
        ("scales/demo/seeds", [-1, 1, -2], "seeds.0: should be greater than or equal to 0, not -1 (and 1 more)"),
        ("methods/self-aug/k_self", -1, "k_self: should be greater than or equal to 0, not -1"),
        ("methods/self-aug/label", "DP-Mix_Self", "two cells are labelled digits / DP-Mix_Self / ε = 1; rename one"),
        ("models/tiny-wrn/depth", 11, "models.tiny-wrn: depth 11 of a wide residual network is not 6 b + 4; choose 10"),
        ("models/tiny-wrn/groups", 3, "models.tiny-wrn: groups: 3 do not divide base_channels: 8"),
        ("scales/demo/figures/2/model", "tiny-wrn", "figure 2: tiny-wrn is not an encoder"),
        ("scales/demo/figures/1/methods", ["self-aug", "dp-mix-self"], "figure 1: it shows the views of one example"),
        ("scales/demo/tables/7/methods/Self-Aug/epsilon", 2, "table 7, Self-Aug: epsilon changes no view; remove it"),
        ("methods/self-aug/record_gradients", True, "methods.self-aug.record_gradients: unknown key; "),
        ("scales/demo/tables/9/columns", [], "table 9: its columns have 0 levels, not the 3 of table 9"),
        ("scales/demo/tables/9/columns/0", {"axis": "K"}, "axis 'K' needs exactly one list of values, not none"),
        ("datasets/digits-300/parent", "digits-300", "digits-300 is itself a part of digits-300"),
        ("datasets/digits/source", "folder", "a folder data set needs `path`"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(raw: Raw, place: str, value: Any, words: str) -> None:
    assert words in message(put(raw, place, value))


def test_what_is_missing_is_named(raw: Raw) -> None:
    del raw["methods"]
    assert message(raw) == "params.yaml: methods: is needed, but not there; add it"


def test_a_table_needs_a_kind_a_data_set_and_an_epsilon(raw: Raw) -> None:
    table = raw["scales"]["demo"]["tables"]["9"]
    del table["fixed"]["epsilon"]
    assert message(raw).startswith("params.yaml: table 9, 2 / 2 / 0: epsilon is not set")
    del table["fixed"]["dataset"]
    assert message(raw) == (
        "params.yaml: table 9, 2 / 2 / 0: no dataset is given; name one in a row, a column or fixed"
    )
    del table["kind"]
    assert message(raw) == "params.yaml: scales.demo.tables.9: kind is needed, but not there; add it"


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


def test_d_may_be_images_that_are_given(raw: Raw) -> None:
    put(raw, "diffusion/tiny-diffusion", {"images": "some.zip"})
    assert parse(raw).diffusion["tiny-diffusion"] == GivenImagesSpec(name="tiny-diffusion", images="some.zip")
    Catalogue(parse(raw), "demo")


def test_given_images_have_no_settings_of_a_model(raw: Raw) -> None:
    put(raw, "diffusion/tiny-diffusion/images", "some.zip")
    assert message(raw) == (
        "params.yaml: diffusion.tiny-diffusion: it has both model and images; say where D is from by either, and "
        "remove the other"
    )


def test_a_typo_in_a_text_to_image_model_is_still_named(raw: Raw) -> None:
    put(raw, "diffusion/tiny-diffusion/guidance", 2.0)
    line = message(raw)
    assert line == "params.yaml: diffusion.tiny-diffusion.guidance: unknown key; did you mean 'guidance_scale'?"


@pytest.mark.parametrize("change", [{"weights": "public"}, {"images": "some.zip"}])
def test_public_weights_and_images_go_together(raw: Raw, change: dict[str, str]) -> None:
    raw["models"]["tiny-vit"] |= change
    assert "weights: public and images: <folder or zip archive of public images> go together" in message(raw)
