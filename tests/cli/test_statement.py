"""What `dpmix statement` takes for a released model, and for none."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from dpmix.artefacts.measurements import ZeroShot
from dpmix.artefacts.releasable import ARTEFACTS
from dpmix.cli import main
from dpmix.errors import DataError, ParamsError
from dpmix.files import write_json
from dpmix.params.models import EncoderSpec
from dpmix.params.specs import DatasetSpec
from dpmix.privacy.accounting import Steps, composed_epsilons, rounded_up
from dpmix.release import model as release_model
from dpmix.release import statement
from dpmix.seals import save_tensors

DATASET = DatasetSpec(name="mine", label="Mine", source="folder", path="raw", classes=2, train=1000, test=10)
ENCODER = EncoderSpec(kind="encoder", name="eye", label="Eye", architecture="tiny", weights="none", resolution=8)
STEPS, DELTA = (Steps(2.0, 0.1, 20),), 1e-5
EPSILONS = composed_epsilons(STEPS, delta=DELTA)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "one" / "model.safetensors"
    path.parent.mkdir(parents=True)
    weights = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
    release_model.save(path, weights, ENCODER, ("a", "b"), 3, statement.Statement("mine", 1000, STEPS, EPSILONS, DELTA))
    return path


def said(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr("sys.argv", ["dpmix", "statement", str(path)])
    with pytest.raises(SystemExit) as caught:
        main()
    return capsys.readouterr().out if not caught.value.code else str(caught.value.code)


def test_a_zero_shot_accuracy_beside_a_model_is_nobodys_secret(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "ZeroShot" in ARTEFACTS
    zero_shot = ZeroShot(dataset=DATASET, model=ENCODER, prompts=("a photo of a {}",))
    write_json(
        model.parents[1] / "zero" / "metrics.json", {"accuracy": 50.0, "experiment": zero_shot.model_dump(mode="json")}
    )
    text = said(model.parents[1], monkeypatch, capsys)
    assert text.startswith(f"{model}: ε = ")
    assert text.count("\n") == 1
    for name, value in EPSILONS.items():
        assert f"{rounded_up(value, 4)} ({name})" in text


def test_a_run_of_research_beside_a_model_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(model.parents[1] / "two" / "metrics.json", {"experiment": {"release": False}})
    assert "is of a run without release: true" in said(model.parents[1], monkeypatch, capsys)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mechanism", [1]),
        ("mechanism", 5),
        ("mechanism", [{"noise_multiplier": 1, "sampling_rate": 0.1, "steps": 1e999}]),
        ("classes", 5),
        ("bias", torch.tensor(1.0)),
        ("bias", torch.zeros(7)),
    ],
)
def test_whatever_a_damaged_file_says_is_one_line(model: Path, tmp_path: Path, key: str, value: object) -> None:
    with safe_open(model, framework="pt") as file:
        metadata, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if isinstance(value, torch.Tensor):
        weights[key] = value
    else:
        metadata[key] = json.dumps(value)
    damaged = tmp_path / "damaged.safetensors"
    save_tensors(damaged, weights, metadata)
    with pytest.raises(DataError, match="is not a whole released model; copy or make it again"):
        release_model.load(damaged)
    if key == "mechanism":
        with pytest.raises(DataError, match="is not a whole released model; copy or make it again"):
            statement.read_statement(damaged)


# Of these a claim is held against the steps; elsewhere they are no number of a run.
CLAIMS = ("0", "Infinity", "1e400", "9" * 400)
NEVER = ("null", "NaN", "-1", '"much"', '"1"', "[]", "true")
NUMBERS = ("noise_multiplier", "sampling_rate", "steps", "population", "delta")


def write_edited(model: Path, path: Path, key: str, text: str) -> None:
    """Write a model with another text in its metadata, or in the row of its steps, and a digest that fits."""
    with safe_open(model, framework="pt") as file:
        metadata, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if key in metadata:
        metadata[key] = text
    else:
        row = {**json.loads(metadata["mechanism"])[0], key: "HERE"}
        metadata["mechanism"] = json.dumps([row]).replace('"HERE"', text)
    save_tensors(path, weights, metadata)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *((key, text) for key in (*NUMBERS, "epsilon_pld") for text in NEVER),
        *((key, text) for key in NUMBERS for text in CLAIMS),
    ],
)
def test_no_number_of_a_file_is_taken_on_trust(model: Path, tmp_path: Path, key: str, text: str) -> None:
    write_edited(model, tmp_path / "odd.safetensors", key, text)
    with pytest.raises(DataError, match="is not a whole released model; copy or make it again"):
        statement.read_statement(tmp_path / "odd.safetensors")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("sampling_rate", "1.5"), ("steps", "3.5"), ("steps", "1e12"), ("delta", "0.9"), ("delta", "1e-300"),
        ("noise_multiplier", "1e-9"), ("population", "1e3"), ("dataset", "two\nlines"),
        ("mechanism", json.dumps([{"noise_multiplier": 1.0, "sampling_rate": 0.1, "steps": 1}] * 2000)),
        ("mechanism", "[]"), ("mechanism", "{}"), ("mechanism", "[[]]"), ("mechanism", "[" * 10**5),
    ],
)  # fmt: skip
def test_what_no_run_can_have_had_is_refused_before_it_is_accounted_for(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str, text: str
) -> None:
    write_edited(model, model, key, text)
    told = said(model, monkeypatch, capsys)
    assert "is not a whole released model; copy or make it again" in told
    assert len(told.splitlines()) == 1


def test_models_of_several_deltas_are_joined_at_the_largest_in_any_order() -> None:
    more = (Steps(3.0, 0.2, 10),)
    small = statement.Statement("mine", 1000, STEPS, EPSILONS, 1e-6)
    large = statement.Statement("mine", 1000, more, composed_epsilons(more, delta=1e-4), 1e-4)
    expected = composed_epsilons([*STEPS, *more], delta=1e-4)
    assert statement.joint_epsilons([small, large]) == pytest.approx(expected, rel=1e-9)
    assert statement.joint_epsilons([large, small]) == pytest.approx(expected, rel=1e-9)
    # At the smaller δ it would be larger.
    assert expected["pld"] < composed_epsilons([*STEPS, *more], delta=1e-6)["pld"] - 0.01


def test_a_path_may_be_a_string(model: Path) -> None:
    assert statement.read_statement(str(model)) == statement.read_statement(model)
    with pytest.raises(DataError, match=r"^x does not exist"):
        statement.read_statement("x")
    for load in (str, Path):
        with pytest.raises(DataError, match=r"^nowhere does not exist; fetch"):  # the encoder's folder
            release_model.load(load(model), load("nowhere"))


def test_no_models_have_no_epsilon() -> None:
    with pytest.raises(ParamsError, match=r"no statement was given, .* give that of at least one released model"):
        statement.joint_epsilons([])
