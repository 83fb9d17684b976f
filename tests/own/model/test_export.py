"""What others take of a model's folder: a folder for the hub, and an entry of the leaderboard."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from dpmix.errors import DataError, DpmixError, ParamsError, PrivacyError
from dpmix.files import read_json, write_json
from dpmix.own.model import export, model_folder
from dpmix.own.model.model_folder import ModelFolder

pytestmark = pytest.mark.filterwarnings("ignore")


def evaluation(accuracy: object = 0.8754, split: str = "test") -> Path:
    write_json(Path("evaluation", "metrics.json"), {"accuracy": accuracy, "split": split})
    return Path("evaluation")


def test_a_folder_for_the_hub_is_the_model_and_nothing_else(model: ModelFolder) -> None:
    (model.path / "predictions.csv").write_text("private.png,cat\n")
    (model.path / "README.md").write_text("edited by hand")
    out = export.hub(model, Path("for-the-hub"))
    copy = model_folder.read(out)
    copy.check()
    assert copy.load().classes == model.classes
    assert {path.name for path in out.iterdir()} == {
        "README.md", "config.json", "encoder", "model.safetensors", "privacy.json",
    }  # fmt: skip
    assert ModelCard.load(out / "README.md").data.library_name == "dpmix"
    assert "# shapes-model" in (out / "README.md").read_text("utf-8")


def test_one_into_the_model_or_around_it_is_refused(model: ModelFolder) -> None:
    for out in (model.path / "hub", model.path, Path()):
        with pytest.raises(ParamsError, match="lie in each other; name another folder"):
            export.hub(model, out)
    assert not (model.path / "hub").exists()


def test_an_entry_has_the_leaderboards_fields(model: ModelFolder) -> None:
    (entry,) = yaml.safe_load(export.leaderboard(model, evaluation()))
    assert list(entry) == ["name", "url", "authors", "code", "venue", "venue_date", "claims"]
    (claim,) = entry["claims"]
    spent = read_json(model.path / "privacy.json")["guarantee"]["epsilon"]
    assert claim["epsilon"] == spent["pld"] == min(spent.values())
    assert (claim["dp_accountant"], claim["delta"]) == ("PLD", "1e-05")
    assert claim["private_accuracy"] == "87.5%"
    assert claim["model"] == "tiny (Final Layer)"


def test_a_record_that_was_edited_is_exported_nowhere(model: ModelFolder) -> None:
    said = read_json(model.path / "privacy.json")
    said["guarantee"]["epsilon"]["pld"] = 0.1
    write_json(model.path / "privacy.json", said)
    edited = model_folder.read(model.path)
    with pytest.raises(PrivacyError, match="do not trust it"):
        export.hub(edited, Path("hub"))
    with pytest.raises(PrivacyError, match="do not trust it"):
        export.leaderboard(edited, evaluation())
    assert not Path("hub").exists()


def test_an_evaluation_on_other_images_is_none(model: ModelFolder) -> None:
    for made in (evaluation(split="train"), evaluation(accuracy="good")):
        with pytest.raises(DataError, match="no evaluation on test images; make one"):
            export.leaderboard(model, made)
    with pytest.raises(DpmixError, match="gone"):
        export.leaderboard(model, Path("gone"))
