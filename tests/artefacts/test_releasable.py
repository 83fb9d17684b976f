"""What may be handed out is one list; whatever is not on it is refused."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import Distance
from dpmix.artefacts.releasable import ARTEFACTS, SETTINGS, objection
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.params.models import WideResNetSpec
from dpmix.params.read import parse

NETWORK = WideResNetSpec(kind="wide-resnet", name="net", label="Net", depth=10, width=1)

RELEASE = "docs/own-images/params.yaml"


@pytest.fixture
def raw(repository: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((repository / RELEASE).read_text(encoding="utf-8"))
    return found


def release(raw: dict[str, Any]) -> Experiment:
    (run,) = Catalogue(parse(raw), "release").of(Experiment)
    assert isinstance(run, Experiment)
    assert run.release
    return run


def test_every_setting_of_an_experiment_is_decided() -> None:
    assert set(SETTINGS) == set(Experiment.model_fields)


def test_a_setting_that_nobody_decided_is_refused(raw: dict[str, Any]) -> None:
    assert objection({**release(raw).__dict__, "peek": True}) is not None
    assert "decide it" in str(objection({"peek": True}))


def test_every_kind_of_artefact_is_decided() -> None:
    kinds = {kind.__name__ for kind in Artefact.__subclasses__() if kind.__module__.startswith("dpmix.")}
    refused = {kind.__name__ for kind in (Selection, GradientRecord, Distance)}
    assert set(ARTEFACTS) == kinds - refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mix_with": "S2", "subset": "S1"}, "unprotected; mix with synthetic images"),
        ({"holdout": 0.1}, "held-out training images"),
        ({"microbatch_size": 2, "k_self": 0, "k_diff": 0, "model": NETWORK}, "for no two models together"),
        ({"epsilon": math.inf}, "a model without noise reveals its training images"),
        ({"dataset": "drawn"}, "drawn_from takes a part that depends on the classes and places of all images"),
        ({"learning_rate": None}, "choosing a learning rate on private images is not covered by ε"),
    ],
)
def test_what_epsilon_does_not_cover_is_refused(raw: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    run = release(raw)
    values = {name: getattr(run, name) for name in Experiment.model_fields}
    Experiment(**values)
    if changes.get("dataset") == "drawn":
        changes = {"dataset": run.dataset.model_copy(update={"drawn_from": 2 * (run.dataset.train or 0)})}
    with pytest.raises(ValidationError, match=words):
        Experiment(**{**values, **changes})
    Experiment(**{**values, **changes, "release": False})


@pytest.mark.parametrize("source", ["my-images", "my-images/train", "./data/../my-images/train.zip", "."])
def test_public_images_that_are_the_private_ones_are_refused(raw: dict[str, Any], source: str) -> None:
    raw["diffusion"] = {"given": {"images": source}}
    for scale in raw["scales"].values():
        scale["synthetic"] = "given"
    refused(raw, "is said to be public, but it holds the private images of mine")
    raw["diffusion"] = {"given": {"images": "elsewhere"}}
    assert Catalogue(parse(raw), "release").of(Experiment)
    raw["models"]["vit-b-16"] |= {"weights": "public", "images": source}
    refused(raw, "is said to be public, but it holds the private images of mine")


def test_public_images_that_are_anothers_private_ones_are_refused(raw: dict[str, Any]) -> None:
    raw["datasets"]["theirs"] = {**raw["datasets"]["mine"], "path": "their-images"}
    raw["scales"]["release"]["synthetic_size"] = {"mine": 6000, "theirs": 6000}
    raw["scales"]["release"]["tables"]["3"]["rows"][0]["dataset"] = ["mine"]
    raw["models"]["vit-b-16"] |= {"weights": "public", "images": "their-images"}
    assert Catalogue(parse(raw), "release").of(Experiment)
    raw["datasets"]["theirs"]["label"] = "Theirs"
    raw["models"]["other"] = {**raw["models"]["vit-b-16"], "label": "Other", "weights": "laion2b_s34b_b88k"}
    del raw["models"]["other"]["images"]
    raw["scales"]["release"]["tables"]["3"]["rows"][0] = {
        "axis": "Dataset",
        "values": {"mine": {"dataset": "mine"}, "theirs": {"dataset": "theirs", "model": "other"}},
    }
    raw["scales"]["release"]["tables"]["3"]["columns"][0] = {"axis": "Model", "values": {"any": {}}}
    raw["scales"]["release"]["tables"]["3"]["fixed"] = {"model": "vit-b-16"}
    refused(raw, "their-images holds the images of theirs and is not covered by its ε")


def refused(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamsError, match=words) as caught:
        Catalogue(parse(raw), "release")
    assert "\n" not in str(caught.value)


def test_a_ladder_beside_a_release_is_refused(raw: dict[str, Any]) -> None:
    raw["scales"]["release"]["tables"]["3"]["ladder"] = {"method": "self-aug"}
    refused(raw, "without noise reveals its training images; give a finite epsilon, and no ladder")


def test_a_research_run_beside_a_release_is_refused(raw: dict[str, Any]) -> None:
    raw["scales"]["release"]["tables"]["3"]["rows"][1] = {
        "axis": "Method",
        "values": {"released": {"method": "dp-mix-diff"}, "kept": {"method": "self-aug", "release": False}},
    }
    refused(raw, r"Experiment results/release/runs/.* is not covered by its ε; move it to another scale")


def test_a_figure_beside_a_release_is_refused(raw: dict[str, Any]) -> None:
    raw["scales"]["release"]["figures"] = {
        "1": {"datasets": ["mine"], "model": "vit-b-16", "methods": ["dp-mix-diff"], "fixed": {"epsilon": 4}}
    }
    refused(raw, "figure 1, which shows private images")


def test_a_table_of_times_beside_a_release_is_refused(raw: dict[str, Any]) -> None:
    """A release writes no times; without this it would fail once its ε is spent."""
    raw["scales"]["release"]["tables"]["3"]["kind"] = "runtime"
    refused(raw, "table 3, whose times depend on the secret samples")
