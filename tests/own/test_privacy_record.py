"""`privacy.json` says what was executed, and can be computed again from the model's file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from safetensors import safe_open
from scipy.stats import binom

from dpmix.errors import DataError, ParamsError, PrivacyError
from dpmix.files import read_json, write_json
from dpmix.own import privacy_record
from dpmix.own.model_folder import ModelFolder
from dpmix.release.statement import read_statement
from dpmix.seals import save_tensors
from dpmix.training.runner import make
from tests.own.folders import Made, Written, write
from tests.training.conftest import TRAIN, World

pytestmark = pytest.mark.filterwarnings("ignore")

AUDIT = {
    "epsilon_lower_bound": 0.4, "without_assumptions": 0.3, "confidence": 0.95, "observations": 8, "runs": 1,
    "contradicted": False,
}  # fmt: skip

# A change of each entry that the model's file decides, and the name by which the message calls it.
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
    (("together",), {"epsilon": 0.01, "delta": 1e-5, "models": 2}, "together.epsilon"),
    (("together",), {"epsilon": 90.0, "delta": 1e-9, "models": 2}, "together.delta"),
    (("audit",), {**AUDIT, "without_assumptions": 0.5}, "audit.without_assumptions"),
    (("audit",), {**AUDIT, "contradicted": True}, "audit.contradicted"),
    (("audit",), {**AUDIT, "epsilon_lower_bound": 50.0}, "audit.contradicted"),
]


def change(value: Any, keys: tuple[Any, ...], new: object) -> None:
    for key in keys[:-1]:
        value = value[key]
    value[keys[-1]] = new


def test_it_is_of_the_executed_steps(world: World) -> None:
    """Twice the planned noise gives another record, whose ε an accountant that is called here finds too."""
    found = []
    for factor in (1, 2):
        run = world.experiment(release=True, epochs=1, seed=factor, ema_decay=0.5 * (factor - 1))
        plan = world.plan(run)
        noise = plan.noise_multiplier * factor
        world.plan(run, noise)
        make([run], "demo")
        said = write(run, f"model-{factor}").privacy
        (executed,) = said["mechanism"]["executed"]
        assert executed["noise_multiplier"] == pytest.approx(noise)
        assert said["mechanism"]["steps"] == {"planned": plan.steps, "executed": plan.steps}
        assert said["population"]["units"] == TRAIN
        assert ("moving average" in said["definition"]["released"]) == (factor == 2)
        step = privacy_loss_distribution.from_gaussian_mechanism(noise, sampling_prob=plan.sampling_rate)
        epsilon = step.self_compose(plan.steps).get_epsilon_for_delta(run.delta)
        assert said["guarantee"]["epsilon"]["pld"] == pytest.approx(epsilon, rel=2e-3)
        counts = np.arange(6)
        group = privacy_loss_distribution.from_mixture_gaussian_mechanism(
            noise, list(map(float, counts)), list(binom.pmf(counts, 5, plan.sampling_rate)),
            value_discretization_interval=2e-3,
        )  # fmt: skip
        of_five = group.self_compose(plan.steps).get_epsilon_for_delta(run.delta)
        assert said["guarantee"]["persons"][1] == {"images": 5, "epsilon": pytest.approx(of_five, rel=1e-2)}
        found.append(said["guarantee"])
    assert found[1]["epsilon"]["pld"] < 0.7 * found[0]["epsilon"]["pld"]
    assert found[1]["gdp_mu"] < 0.7 * found[0]["gdp_mu"]


def test_what_is_stated_is_not_less_than_what_was_spent(model: ModelFolder) -> None:
    folder = model
    with safe_open(folder.model, framework="np") as file:
        inside = file.metadata()
    for name, value in folder.privacy["guarantee"]["epsilon"].items():
        assert value >= float(inside[f"epsilon_{name}"]) - 1e-6
    assert set(folder.privacy["guarantee"]["epsilon"]) == {"rdp", "prv", "pld"}


@pytest.mark.parametrize(("keys", "new", "name"), TAMPERED)
def test_one_that_was_edited_is_found_by_its_entry(shapes: Made, keys: tuple[Any, ...], new: object, name: str) -> None:
    said = read_json(shapes.folder / "privacy.json")
    change(said, keys, new)
    with pytest.raises(PrivacyError, match=f"something else of {name} ") as caught:
        privacy_record.check(said, shapes.folder / "model.safetensors")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("keys", [("mechanism",), ("together",), ("guarantee", "epsilon")])
def test_a_damaged_one_is_one_line(shapes: Made, keys: tuple[str, ...]) -> None:
    said = read_json(shapes.folder / "privacy.json")
    change(said, keys, [])
    if keys == ("together",):
        del said["together"]
    with pytest.raises((DataError, PrivacyError)) as caught:
        privacy_record.check(said, shapes.folder / "model.safetensors")
    assert len(str(caught.value).splitlines()) == 1


def test_another_models_record_is_found(model: ModelFolder) -> None:
    """Weights of another model, with the same statement."""
    model.check()
    with safe_open(model.model, framework="pt") as file:
        said, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_tensors(model.model, {**weights, "bias": weights["bias"] + 1}, said)
    with pytest.raises(PrivacyError, match=r"model\.sha256"):
        model.check()


def test_a_run_of_other_steps_than_the_files_is_refused(shapes: Made) -> None:
    run = read_json(shapes.model.parent / "metrics.json")
    run["steps"]["executed"] = 1
    with pytest.raises(PrivacyError, match="its run's record of others"):
        privacy_record.record(shapes.model, run, {})


def test_facts_are_said_as_they_were_given(shapes: Made, written: Written) -> None:
    rule = read_json(shapes.folder / "privacy.json")
    assert rule["tuning"]["private_choice"].startswith("none")
    assert rule["command"] == "dpmix train shapes"
    given = written(privacy={"audit": AUDIT}).privacy
    assert "the user's statement" in given["tuning"]["private_choice"]
    assert given["audit"] == AUDIT


def test_where_the_steps_are_a_bound_of_one_image_nothing_is_said_of_several(shapes: Made) -> None:
    run = read_json(shapes.model.parent / "metrics.json")
    for name, value in (("update", "model-mix"), ("microbatch_size", 2)):
        other = {**run, "experiment": {**run["experiment"], name: value}}
        said = privacy_record.record(shapes.model, other, {})
        assert said["mechanism"]["bound_of_one_image"]
        assert [one["epsilon"] for one in said["guarantee"]["persons"]] == [None, None, None]
        privacy_record.check(said, shapes.model)
    plain = privacy_record.record(shapes.model, run, {})
    assert not plain["mechanism"]["bound_of_one_image"]
    assert None not in [one["epsilon"] for one in plain["guarantee"]["persons"]]


def test_banded_noise_is_refused_in_a_line_that_says_what_to_hand_out(world: World) -> None:
    """Its file counts the steps of one record, of which there are fewer than were executed."""
    run = world.experiment(release=True, epochs=4, bands=2)
    make([run], "demo")
    with pytest.raises(PrivacyError, match=r"was trained with banded noise, .*: dpmix statement FILE") as caught:
        write(run, "banded-model")
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("banded-model").exists()
    # The remedy: the file says its ε by itself.
    model = run.directory("demo") / "model.safetensors"
    statement = read_statement(model)
    assert statement.computed_again() == pytest.approx(statement.epsilons)
    assert sum(row.steps for row in statement.mechanism) < read_json(run.path("demo"))["steps"]["executed"]


def test_photographs_by_which_features_are_scaled_are_among_the_public_data(shapes: Made) -> None:
    run = read_json(shapes.model.parent / "metrics.json")
    for standardize in ("none", "public", "encoder"):
        model = {**run["experiment"]["model"], "standardize": standardize}
        other = {**run, "experiment": {**run["experiment"], "model": model}}
        used = privacy_record.record(shapes.model, other, {"public_data": ("my prompts",)})["public_data"]
        assert any("photographs that come with this program" in one for one in used) == (standardize == "encoder")
        assert used[0].startswith("the frozen encoder tiny")
        assert used[-1] == "my prompts"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"learning_rat": "rule"}, "did you mean 'learning_rate'"),
        ({"learning_rate": "tuned"}, "learning_rate"),
        ({"evaluation": {"accuracy": 90.0}}, "evaluation.images"),
    ],
)
def test_facts_that_are_none_are_one_line(facts: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamsError, match=words) as caught:
        privacy_record.facts_of(facts)
    assert len(str(caught.value).splitlines()) == 1


def test_a_person_is_the_unit_where_the_file_says_so(model: ModelFolder, shapes: Made) -> None:
    folder, metrics = model, shapes.model.parent / "metrics.json"
    with safe_open(folder.model, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = file.metadata()
    model = folder.path / "person.safetensors"
    save_tensors(model, weights, {**said, "unit": "person"})
    record = privacy_record.record(model, read_json(metrics), {})
    assert record["definition"]["unit"] == "person"
    assert record["definition"]["adjacency"] == "add or remove one person with all their images"
    assert "persons" not in record["guarantee"]
    save_tensors(model, weights, {**said, "unit": "village"})
    with pytest.raises(DataError, match="not a whole released model"):
        privacy_record.record(model, read_json(metrics), {})


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
        privacy_record.check(folder.privacy, model)


def test_a_file_that_is_no_record_is_one_line(tmp_path: Path) -> None:
    write_json(tmp_path / "privacy.json", {"format": 99})
    with pytest.raises(DataError, match="no privacy record of this version"):
        privacy_record.of_folder(tmp_path)


def test_the_code_is_named_by_what_it_is() -> None:
    assert privacy_record.source_digest() == privacy_record.source_digest()
    assert len(bytes.fromhex(privacy_record.source_digest())) == 32
