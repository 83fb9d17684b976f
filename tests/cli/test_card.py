"""`dpmix card` writes the card again, and refuses a record that was edited."""

import pytest

from dpmix.files import read_json, write_json
from dpmix.own.model.model_folder import ModelFolder
from tests.cli.test_predict import run
from tests.own.folders import model, shapes
from tests.training.conftest import encoder_folder

__all__ = ["encoder_folder", "model", "shapes"]

pytestmark = pytest.mark.filterwarnings("ignore")


def test_it_writes_what_training_wrote(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (model.path / "README.md").read_text("utf-8")
    (model.path / "README.md").unlink()
    assert run(monkeypatch, "card", "shapes-model/") == 0
    assert (model.path / "README.md").read_text("utf-8") == before


def test_a_record_that_was_edited_is_refused(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (model.path / "README.md").read_text("utf-8")
    said = read_json(model.path / "privacy.json")
    said["guarantee"]["gdp_mu"] = 0.01
    write_json(model.path / "privacy.json", said)
    error = str(run(monkeypatch, "card", "shapes-model"))
    assert "says something else of guarantee.gdp_mu than the model's own steps; do not trust it" in error
    assert (model.path / "README.md").read_text("utf-8") == before
