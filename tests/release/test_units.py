"""Released models say whether they protect images or persons, and no ε of both together is stated."""

import json
from pathlib import Path

import pytest
import torch

from dpmix.cli import main
from dpmix.errors import DataError, ParamsError
from dpmix.privacy.accounting import Steps
from dpmix.release.model import save
from dpmix.release.statement import Statement, joint_epsilons, read_statement
from tests.training.conftest import NETWORK

STEPS = [Steps(2.0, 0.25, 10)]


def stated(unit: str) -> Statement:
    plain = Statement("faces", 24, STEPS, {}, 1e-5, unit=unit)
    return Statement("faces", 24, STEPS, plain.computed_again(), 1e-5, unit=unit)


def write(path: Path, unit: str) -> Path:
    save(path, {"weight": torch.zeros(1)}, NETWORK, ["a", "b"], 3, stated(unit))
    return path


def test_the_unit_is_in_the_file(tmp_path: Path) -> None:
    assert read_statement(write(tmp_path / "a.safetensors", "person")).unit == "person"
    assert read_statement(write(tmp_path / "b.safetensors", "image")).unit == "image"


def test_a_file_of_before_protects_images_and_one_of_nobody_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.safetensors", "person").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])

    def rewritten(metadata: dict[str, str]) -> Path:
        text = json.dumps({**header, "__metadata__": metadata}).encode()
        path = tmp_path / "b.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
        return path

    said = {name: value for name, value in header["__metadata__"].items() if name != "sha256"}
    assert read_statement(rewritten({name: value for name, value in said.items() if name != "unit"})).unit == "image"
    with pytest.raises(DataError, match="is not a whole released model"):
        read_statement(rewritten({**said, "unit": "family"}))


def test_models_of_persons_compose_and_those_of_both_units_do_not() -> None:
    person, image = stated("person"), stated("image")
    assert joint_epsilons([person, person]) == joint_epsilons([image, image])
    with pytest.raises(ParamsError, match=r"no ε of both together holds for either.* those of each unit") as caught:
        joint_epsilons([person, image])
    assert "\n" not in str(caught.value)


def test_the_command_says_whom_each_protects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write(tmp_path / f"{n}.safetensors", unit) for n, unit in enumerate(("person", "image", "person"))]
    monkeypatch.setattr("sys.argv", ["dpmix", "statement", *map(str, files)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("one person with all their images of 24 of faces")
    assert lines[1].endswith("one image of 24 of faces")
    assert lines[3].startswith("all 2 models that protect one person with all their images of faces: ε = ")
    assert lines[4].startswith("some models protect one image and others one person, and no ε of both together holds")
    assert len(lines) == 5
