"""The model card: what a hub reads, and what a person reads, against `privacy.json` and `config.json`."""

import re

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from markdown_it import MarkdownIt

from dpmix.files import read_json
from dpmix.own.model import card
from tests.own.folders import Made

pytestmark = pytest.mark.filterwarnings("ignore")
AUDIT = {
    "epsilon_lower_bound": 0.75, "without_assumptions": 0.5, "confidence": 0.95, "observations": 8, "runs": 1,
    "contradicted": False,
}  # fmt: skip


def texts(shapes: Made, **changes: object) -> str:
    privacy = {**read_json(shapes.folder / "privacy.json"), **changes}
    return card.text("shapes-model", read_json(shapes.folder / "config.json"), privacy)


def test_the_hubs_library_reads_its_front_matter(shapes: Made) -> None:
    text = (shapes.folder / "README.md").read_text(encoding="utf-8")
    found = ModelCard(text)
    assert isinstance(found.data, ModelCardData)
    assert found.data.library_name == "dpmix"
    assert found.data.pipeline_tag == "image-classification"
    assert set(found.data.tags) >= {"differential-privacy", "dp-sgd", "dp-mix"}
    assert found.data.license is None  # the user's choice
    assert found.data.eval_results is None
    assert "\n# license: " in text.partition("\n---\n")[0]  # and said to be


def test_an_accuracy_is_there_only_if_it_was_released_with_a_budget(shapes: Made) -> None:
    assert "metrics" not in yaml.safe_load(texts(shapes).split("---")[1])
    evaluation = {"accuracy": 87.5, "images": 400, "epsilon": 0.1}
    text = texts(shapes, evaluation=evaluation, base_model="someone/eye")
    data = ModelCard(text).data
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", 0.875, "shapes")
    assert data.base_model == "someone/eye"
    assert data.metrics == ["accuracy"]
    # sqrt(2 e^-0.1) / (1 - e^-0.1) = 14.14 answers of 400
    assert "87.5 % on 400 test images, with noise of standard deviation 3.5; it spent ε = 0.1" in text
    definition = {**read_json(shapes.folder / "privacy.json")["definition"], "unit": "person"}
    text = texts(shapes, evaluation=evaluation, definition=definition)
    assert "87.5 % on one image of each of 400 test persons, with noise" in text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, None),
        ({"other_unit": 1}, "1 model that protects one person of the same images: no ε here counts what they reveal"),
        ({"other_unit": 2, "research": 1}, "2 models that protect one person and 1 research run of the same images"),
        ({"research": 3}, "3 research runs of the same images: no ε here counts what they reveal"),
    ],
)
def test_it_says_which_runs_are_not_counted(shapes: Made, more: dict[str, int], words: str | None) -> None:
    together = {"epsilon": 5.0, "delta": 1e-5, "models": 1, "test_epsilon": 0.0, "other_unit": 0, "research": 0}
    text = texts(shapes, together={**together, **more})
    assert ("| not counted | " in text) == (words is not None)
    assert words is None or words in text
    assert "with earlier models" not in text


def test_it_says_what_all_released_accuracies_spent(shapes: Made) -> None:
    evaluation = {"accuracy": 87.5, "images": 400, "epsilon": 0.5}
    together = {"epsilon": 5.0, "delta": 1e-5, "models": 2, "test_epsilon": 0.75, "other_unit": 0, "research": 0}
    words = "it spent ε = 0.5 on these, and accuracies of this and earlier models together ε = 0.75."
    assert words in texts(shapes, evaluation=evaluation, together=together)
    alone = {**together, "test_epsilon": 0.5}
    assert "it spent ε = 0.5 on these.\n" in texts(shapes, evaluation=evaluation, together=alone)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (1, "One set of 3 views of each image, fixed before the first step, serves all steps; ε does not rest on"),
        (4, "4 sets of 3 views of each image, fixed before the first step, serve all steps; ε does not rest on"),
        (0, None),
    ],
)
def test_it_says_that_views_come_again(shapes: Made, sets: int, words: str | None) -> None:
    config = read_json(shapes.folder / "config.json")
    config["settings"] |= {"view_sets": sets, "k_base": 2, "k_self": 1, "k_diff": 0}
    text = card.text("shapes-model", config, read_json(shapes.folder / "privacy.json"))
    introduction = text.partition("# shapes-model\n")[2].partition("## What is guaranteed")[0]
    first, *others = introduction.strip().split("\n\n")
    assert first.endswith(".")
    assert introduction.endswith(".\n\n")
    assert len(others) == (words is not None)
    if words is not None:
        assert " ".join(others[0].split()).startswith(words)


def test_it_says_the_numbers_of_the_record(shapes: Made) -> None:
    privacy, text = read_json(shapes.folder / "privacy.json"), (shapes.folder / "README.md").read_text("utf-8")
    guarantee = privacy["guarantee"]
    assert f"**ε = {min(guarantee['epsilon'].values())} at δ = 1e-05**" in text
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", text, flags=re.MULTILINE))
    assert [float(one) for one in re.findall(r"([\d.]+) \(", rows["ε by accountant"])] == list(
        guarantee["epsilon"].values()
    )
    assert rows["μ of Gaussian differential privacy"] == str(guarantee["gdp_mu"])
    assert [rows[f"ε of a person with {one['images']} images"] for one in guarantee["persons"]] == [
        str(one["epsilon"]) for one in guarantee["persons"]
    ]
    (executed,) = privacy["mechanism"]["executed"]
    assert rows["executed"].startswith(
        f"{executed['steps']} steps, noise multiplier {executed['noise_multiplier']:.6g},"
    )
    assert rows["training set"].startswith("96 images of `shapes`")


def test_another_record_gives_another_card(shapes: Made) -> None:
    privacy = read_json(shapes.folder / "privacy.json")
    guarantee = {"delta": 1e-3, "epsilon": {"pld": 7.5}, "gdp_mu": 1.25}
    text = texts(
        shapes, guarantee=guarantee, definition={**privacy["definition"], "unit": "person"},
        together={"epsilon": 9.5, "delta": 1e-5, "models": 2}, audit=AUDIT,
    )  # fmt: skip
    assert "**ε = 7.5 at δ = 0.001**, or 1.25-GDP" in text
    assert "any one **person** and all their images" in text
    assert "ε of a person with" not in text
    assert "| with earlier models of the same images | ε = 9.5 at δ = 1e-05, 2 models |" in text
    assert "| audit | ε is at least 0.75 with 95 % confidence, by 8 canaries in 1 run; not contradicted |" in text
    alone = texts(shapes, together={"epsilon": 4.0, "delta": 1e-5, "models": 1})
    assert "earlier models" not in alone


@pytest.mark.parametrize("name", ["a|b", "`ticks`", "two\nlines", "<script>alert(1)</script>", "__init__", "[x](y)"])
def test_names_of_classes_are_shown_as_they_are(shapes: Made, name: str) -> None:
    config = {**read_json(shapes.folder / "config.json"), "label_names": [name], "num_classes": 1}
    text = card.text("shapes-model", config, read_json(shapes.folder / "privacy.json"))
    blocks = MarkdownIt("commonmark").parse(text.partition("\n---\n")[2])
    shown = [
        token for block in blocks for token in block.children or [] if token.type in ("code_inline", "html_inline")
    ]
    assert " ".join(name.split()) in [token.content for token in shown if token.type == "code_inline"]
    assert not [token for token in shown if token.type == "html_inline"]
