"""`privacy.json` says what was executed, and can be computed again from the model's file."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from safetensors import safe_open
from scipy.stats import binom

from dpmix.errors import DataError, ParamsError, PrivacyError
from dpmix.files import read_json
from dpmix.own.model import privacy_check, privacy_record
from dpmix.own.model.model_folder import ModelFolder
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
        privacy_check.check(said, shapes.model)
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
    assert record["definition"]["adjacency"] == (
        "add or remove one person with all their images, where N stays as published and the place of who is absent "
        "stands for nobody"
    )
    assert "persons" not in record["guarantee"]
    save_tensors(model, weights, {**said, "unit": "village"})
    with pytest.raises(DataError, match="not a whole released model"):
        privacy_record.record(model, read_json(metrics), {})


@pytest.mark.parametrize("page", ["docs/own-images/README.md", "SECURITY.md", "docs/privacy.md"])
def test_pages_say_who_is_a_neighbour_as_the_record_does(repository: Path, page: str, model: ModelFolder) -> None:
    text = " ".join((repository / page).read_text(encoding="utf-8").split())
    for words in (r"N stays (as|what was) published", r"keeps? their places?", r"that is absent|who is absent"):
        assert re.search(words, text), words
    assert "stands for nobody" in text
    for said in (
        read_json(model.path / "privacy.json")["definition"]["adjacency"],
        (model.path / "README.md").read_text(),
    ):
        assert "N stays as published and the place of who is absent stands for nobody" in said
