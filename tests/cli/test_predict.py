"""`dpmix predict` on the command line: what is printed, what is written, and the exit status."""

import csv
import io
import json
from pathlib import Path

import pytest

from dpmix.cli import main
from dpmix.files import read_json, write_json
from dpmix.own.model.model_folder import ModelFolder
from tests.own.folders import model, shapes, write_images
from tests.training.conftest import encoder_folder

__all__ = ["encoder_folder", "model", "shapes"]

pytestmark = pytest.mark.filterwarnings("ignore")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str | int | None:
    monkeypatch.setattr("sys.argv", ["dpmix", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_it_prints_a_row_for_each_image(
    model: ModelFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_images(Path("new-images"), 4)
    assert run(monkeypatch, "predict", "shapes-model", "new-images", "--top-k", 2) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["image"] for row in rows] == [str(file) for file in files]
    assert all(float(row["probability"]) >= float(row["probability_2"]) for row in rows)
    assert {row["label"] for row in rows} <= set(model.classes)


def test_it_writes_all_others_and_exits_with_one_for_a_damaged_file(
    model: ModelFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_images(Path("new-images"), 4)
    files[2].write_bytes(b"no image")
    assert run(monkeypatch, "predict", "shapes-model", "new-images", "--output", "found.json") == 1
    out, err = capsys.readouterr()
    assert out == "found.json\n"
    assert [one["image"] for one in json.loads(Path("found.json").read_text())] == [
        str(file) for file in (*files[:2], files[3])
    ]
    assert f"skipped: {files[2]} cannot be read as an image" in err


def test_mistakes_are_one_line_and_nothing_is_written(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_images(Path("new-images"), 4)
    for arguments, words in (
        (("nowhere", files[0]), "nowhere does not exist; give the folder of a model"),
        (("shapes-model", "gone"), "gone does not exist; give image files"),
        (("shapes-model", files[0], "--format", "parquet"), "name a file: --output predictions.parquet"),
        (("shapes-model", files[0], "--output", "x.xml"), "unknown format 'xml' of x.xml"),
    ):
        error = str(run(monkeypatch, "predict", *arguments))
        assert error.startswith("error: ")
        assert words in error
        assert len(error.splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["new-images", "shapes-model"]


def test_a_folders_statement_is_held_against_its_record(
    model: ModelFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (model.path / "encoder" / "model.safetensors").write_bytes(b"an encoder's, as timm calls it")
    assert run(monkeypatch, "statement", "shapes-model") == 0
    assert "one image of 96 of shapes" in capsys.readouterr().out
    said = read_json(model.path / "privacy.json")
    said["guarantee"]["epsilon"]["pld"] /= 2
    write_json(model.path / "privacy.json", said)
    error = str(run(monkeypatch, "statement", "shapes-model"))
    assert "says something else of guarantee.epsilon.pld than the model's own steps; do not trust it" in error


def test_classify_is_hidden_and_stays(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    told = capsys.readouterr().out
    assert " predict " in told
    assert " classify " not in told
    assert run(monkeypatch, "classify", "--help") == 0
