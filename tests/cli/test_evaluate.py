"""`dpmix evaluate` on the command line: the numbers, and what they read."""

from pathlib import Path

import pytest

from dpmix.files import read_json
from dpmix.own.model.model_folder import ModelFolder
from tests.cli.test_predict import run
from tests.own.folders import model, shapes, write_images
from tests.training.conftest import encoder_folder

__all__ = ["encoder_folder", "model", "shapes"]

pytestmark = pytest.mark.filterwarnings("ignore")


def test_it_prints_the_numbers_and_what_they_read(
    model: ModelFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(Path("my-images", "train"), 8, seed=5)
    files = write_images(Path("my-images", "test"), 12, seed=6)
    assert run(monkeypatch, "evaluate", "shapes-model", "my-images/") == 0
    out, err = capsys.readouterr()
    values = read_json(Path("my-images-evaluation", "metrics.json"))
    assert f"accuracy {values['accuracy']:.1%} (" in out
    assert "12 test images" in out
    assert "read the test images without noise" in err
    files[0].write_bytes(b"no image")
    assert run(monkeypatch, "evaluate", "shapes-model", "my-images", "--output", "again") == 1
    assert "11 test images" in capsys.readouterr().out


def test_mistakes_are_one_line(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(Path("my-images", "test"), 4)
    error = str(run(monkeypatch, "evaluate", "my-images", "shapes-model"))
    assert "error: my-images has no model.safetensors, so it is no model's folder; give one that dpmix train" in error
    assert len(error.splitlines()) == 1
