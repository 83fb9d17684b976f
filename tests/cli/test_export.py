"""`dpmix export` on the command line."""

from pathlib import Path

import pytest
import yaml

from dpmix.files import read_json, write_json
from dpmix.own.model import model_folder
from dpmix.own.model.model_folder import ModelFolder
from tests.cli.test_predict import run
from tests.own.folders import model, shapes
from tests.training.conftest import encoder_folder

__all__ = ["encoder_folder", "model", "shapes"]

pytestmark = pytest.mark.filterwarnings("ignore")


def test_it_writes_or_prints(
    model: ModelFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "export", "shapes-model/", "--format", "hub") == 0
    assert capsys.readouterr().out == "shapes-model-hub/\n"
    assert model_folder.read("shapes-model-hub").classes == model.classes
    write_json(Path("found", "metrics.json"), {"accuracy": 0.5, "split": "test"})
    assert run(monkeypatch, "export", "shapes-model", "--format", "leaderboard", "--evaluation", "found") == 0
    assert yaml.safe_load(capsys.readouterr().out)[0]["claims"][0]["private_accuracy"] == "50.0%"


def test_a_model_whose_record_was_edited_is_written_in_no_form(
    model: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = read_json(model.path / "privacy.json")
    said["guarantee"]["epsilon"]["pld"] = 0.1
    write_json(model.path / "privacy.json", said)
    write_json(Path("found", "metrics.json"), {"accuracy": 0.5, "split": "test"})
    for form in ("hub", "onnx", "leaderboard"):
        error = str(run(monkeypatch, "export", "shapes-model", "--format", form, "--evaluation", "found"))
        assert "do not trust it" in error
        assert len(error.splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["found", model.path.name]


def test_mistakes_are_one_line(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, words in (
        (("shapes-model", "--format", "hbu"), "unknown format 'hbu'; did you mean 'hub'?"),
        (("shapes-model", "--format", "leaderboard"), "name the folder that dpmix evaluate wrote: --evaluation"),
        (("gone", "--format", "hub"), "gone does not exist; give the folder of a model"),
    ):
        error = str(run(monkeypatch, "export", *arguments))
        assert error.startswith("error: ")
        assert words in error
        assert len(error.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == [model.path.name]
