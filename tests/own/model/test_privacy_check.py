"""A `privacy.json` is held against the model's file and against itself; what was edited is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from dpmix.errors import DataError, PrivacyError
from dpmix.files import read_json, write_json
from dpmix.own.model import privacy_check
from dpmix.own.model.model_folder import ModelFolder
from dpmix.seals import save_tensors
from tests.own.folders import Made
from tests.own.model.test_privacy_record import AUDIT

pytestmark = pytest.mark.filterwarnings("ignore")

# A change of each entry that the model's file decides, and the name by which the message calls it.
ELSE = {"test_epsilon": 0.0, "other_unit": 0, "research": 0}

TAMPERED = [
    (("guarantee", "epsilon", "pld"), 0.5, "guarantee.epsilon.pld"),
    (("guarantee", "epsilon", "rdp"), 1.0, "guarantee.epsilon.rdp"),
    (("guarantee", "gdp_mu"), 0.1, "guarantee.gdp_mu"),
    (("guarantee", "delta"), 1e-9, "guarantee.delta"),
    (("guarantee", "persons", 1, "epsilon"), 2.0, "guarantee.persons.epsilon"),
    (("definition", "unit"), "person", "definition.unit"),
    (("population", "units"), 10**6, "population.units"),
    (("mechanism", "executed", 0, "noise_multiplier"), 9.0, "mechanism.executed.noise_multiplier"),
    (("mechanism", "executed", 0, "steps"), 1, "mechanism.executed.steps"),
    (("model", "sha256"), "0" * 64, "model.sha256"),
    (("guarantee", "epsilon", "mine"), 0.01, "guarantee.epsilon"),
    (("mechanism", "steps", "executed"), 1000, "mechanism.steps.executed"),
    (("definition", "adjacency"), "none", "definition.adjacency"),
    (("mechanism", "steps", "planned"), 1, "mechanism.steps.planned"),
    (("together",), {"epsilon": 0.01, "delta": 1e-5, "models": 2, **ELSE}, "together.epsilon"),
    (("together",), {"epsilon": 90.0, "delta": 1e-9, "models": 2, **ELSE}, "together.delta"),
    (("audit",), {**AUDIT, "without_assumptions": 0.5}, "audit.without_assumptions"),
    (("audit",), {**AUDIT, "contradicted": True}, "audit.contradicted"),
    (("audit",), {**AUDIT, "epsilon_lower_bound": 50.0}, "audit.contradicted"),
]


def change(value: Any, keys: tuple[Any, ...], new: object) -> None:
    for key in keys[:-1]:
        value = value[key]
    value[keys[-1]] = new


def test_an_accuracy_that_spent_more_than_all_together_is_found(shapes: Made) -> None:
    said = read_json(shapes.folder / "privacy.json")
    said["evaluation"] = {"accuracy": 87.5, "images": 400, "epsilon": 0.5}
    together = {"epsilon": 90.0, "delta": 1e-5, "models": 2, "other_unit": 0, "research": 0}
    for spent in (0.5, 0.6):
        said["together"] = {**together, "test_epsilon": spent}
        privacy_check.check(said, shapes.folder / "model.safetensors")
    said["together"] = {**together, "test_epsilon": 0.4}
    with pytest.raises(PrivacyError, match=r"something else of together\.test_epsilon "):
        privacy_check.check(said, shapes.folder / "model.safetensors")


@pytest.mark.parametrize(("keys", "new", "name"), TAMPERED)
def test_one_that_was_edited_is_found_by_its_entry(shapes: Made, keys: tuple[Any, ...], new: object, name: str) -> None:
    said = read_json(shapes.folder / "privacy.json")
    change(said, keys, new)
    with pytest.raises(PrivacyError, match=f"something else of {name} ") as caught:
        privacy_check.check(said, shapes.folder / "model.safetensors")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("keys", [("mechanism",), ("together",), ("guarantee", "epsilon")])
def test_a_damaged_one_is_one_line(shapes: Made, keys: tuple[str, ...]) -> None:
    said = read_json(shapes.folder / "privacy.json")
    change(said, keys, [])
    if keys == ("together",):
        del said["together"]
    with pytest.raises((DataError, PrivacyError)) as caught:
        privacy_check.check(said, shapes.folder / "model.safetensors")
    assert len(str(caught.value).splitlines()) == 1


def test_another_models_record_is_found(model: ModelFolder) -> None:
    """Weights of another model, with the same statement."""
    model.check()
    with safe_open(model.model, framework="pt") as file:
        said, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_tensors(model.model, {**weights, "bias": weights["bias"] + 1}, said)
    with pytest.raises(PrivacyError, match=r"model\.sha256"):
        model.check()


def test_beyond_what_can_be_promised_is_refused(model: ModelFolder) -> None:
    folder = model
    with safe_open(folder.model, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = file.metadata()
    rows = json.loads(said["mechanism"])
    rows[0]["noise_multiplier"] = 0.01
    model = folder.path / "loud.safetensors"
    save_tensors(model, weights, {**said, "mechanism": json.dumps(rows)})
    with pytest.raises(PrivacyError, match="promises nothing"):
        privacy_check.check(folder.privacy, model)


def test_a_file_that_is_no_record_is_one_line(tmp_path: Path) -> None:
    write_json(tmp_path / "privacy.json", {"format": 99})
    with pytest.raises(DataError, match="no privacy record of this version"):
        privacy_check.of_folder(tmp_path)
