"""Several released models of one private data set, for whoever is given all of their files.

The auditor has the released files and the private images, and nothing else. Their ε is computed again from what the
files say was executed, by an accountant that is called here directly; and a canary audit bounds from below what the
files together reveal. Every record is a canary with a feature of its own, whose entry in the weights tells whether it
was there; an absent one is a black image, whose features are zero.
"""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from dp_accounting.pld import privacy_loss_distribution
from safetensors import safe_open
from torch import Tensor

from dpmix.artefacts.data import ImageStore
from dpmix.artefacts.experiment import Experiment
from dpmix.build import build
from dpmix.cli import main
from dpmix.errors import PrivacyError
from dpmix.execution import Execution
from dpmix.files import read_json, write_json
from dpmix.models.features import Featurizer
from dpmix.params.models import EncoderSpec
from dpmix.params.specs import DatasetSpec
from dpmix.privacy.audit import epsilon_lower_bound
from dpmix.privacy.ledger import as_rows
from dpmix.privacy.plan import Plan
from dpmix.release import statement
from dpmix.seals import save_tensors
from dpmix.training.data import load_data
from dpmix.training.heads import Head, train_heads
from dpmix.training.runner import make
from tests.training.conftest import write_store

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

CANARIES, CLASSES, MODELS, REPEATS, DELTA = 600, 3, 3, 10, 1e-5

DATASET = DatasetSpec(
    name="canaries", label="Canaries", source="folder", path="raw", classes=CLASSES, train=CANARIES, test=3
)

ENCODER = EncoderSpec(kind="encoder", name="eye", label="Eye", architecture="tiny", weights="none", resolution=8)


def experiment(seed: int, **changes: object) -> Experiment:
    settings = {
        "dataset": DATASET, "model": ENCODER, "method": "self-aug", "synthetic": None, "epsilon": 8.0, "delta": DELTA,
        "accountant": "pld", "clip_norm": 0.5, "batch_size": 60, "epochs": 1, "learning_rate": 0.1, "k_base": 1,
        "seed": seed, "release": True,
    }  # fmt: skip
    return Experiment(**{**settings, **changes})  # type: ignore[arg-type]


def encode(pixels: Tensor) -> Tensor:
    """A feature for each colour; none for black."""
    red, green, blue = (pixels[..., 0, 0] * 255).round().long().unbind(dim=1)
    # Beside 100 the constant feature of the bias, which all canaries share, does not count.
    return 100 * torch.nn.functional.one_hot(red + 256 * green, CANARIES).float() * (blue > 0)[:, None]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dpmix.models.encoder_files.shared_encoder", lambda *_: encode)
    build(experiment(1).plan(), scale="release")
    return ImageStore(dataset=DATASET, resolution=8).path("release").parent


def draw(store: Path, present: np.ndarray) -> np.ndarray:
    """Write the private images; the labels, int64 [n]."""
    index = np.arange(CANARIES)
    colours = np.stack([index % 256, index // 256, np.full_like(index, 255)], axis=1) * present[:, None]
    pixels = np.broadcast_to(colours[..., None, None], (CANARIES, 3, 8, 8)).astype(np.uint8)
    labels = (index % CLASSES).astype(np.int64)
    write_store(store, train=(pixels, labels), test=(pixels[:3], labels[:3]))
    meta = read_json(store / "meta.json")
    write_json(store / "meta.json", {**meta, "classes": ["a", "b", "c"], "resolution": 8})
    return labels


def score(weight: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How much each canary's entry of the weights, [classes, n], was moved the way its gradient moves it: [n]."""
    direction = np.eye(CLASSES)[:, labels] - 1 / CLASSES
    return (weight * direction / np.linalg.norm(direction, axis=0)).sum(axis=0)


def bound(scores: list[np.ndarray], present: list[np.ndarray]) -> float:
    total, there = np.concatenate(scores), np.concatenate(present)
    return epsilon_lower_bound(total[there], total[~there], DELTA, confidence=0.99999)


def recomputed(paths: list[Path]) -> float:
    """ε of all files together, from what each says was executed."""
    whole = privacy_loss_distribution.identity(value_discretization_interval=1e-4)
    for path in paths:
        with safe_open(path, framework="pt") as file:
            said = file.metadata()
        assert (said["dataset"], int(said["population"]), float(said["delta"])) == ("canaries", CANARIES, DELTA)
        for row in statement.read_statement(path).mechanism:
            step = privacy_loss_distribution.from_gaussian_mechanism(
                row.noise_multiplier, sampling_prob=row.sampling_rate, value_discretization_interval=1e-4
            )
            whole = whole.compose(step.self_compose(row.steps))
    return float(whole.get_epsilon_for_delta(DELTA))


@pytest.mark.timeout(600)
def test_all_files_together_reveal_no_more_than_the_joint_statement(store: Path) -> None:
    runs = [experiment(seed) for seed in range(1, MODELS + 1)]
    files = [run.directory("release") / "model.safetensors" for run in runs]
    scores, there = [], []
    for repeat in range(REPEATS):
        present = np.random.default_rng(repeat).random(CANARIES) < 0.5
        labels = draw(store, present)
        make(list(runs), "release", Execution(device="cpu"))
        weights = []
        for path, run in zip(files, runs, strict=True):
            with safe_open(path, framework="np") as file:
                weights.append(file.get_tensor("weight"))
            run.path("release").unlink()
        scores.append(sum(score(weight[:, :CANARIES], labels) for weight in weights))
        there.append(present)
    statements = [statement.read_statement(path) for path in files]
    joint = statement.joint_epsilons(statements)
    assert joint["pld"] == pytest.approx(recomputed(files), rel=2e-3)
    assert all(one.epsilons["pld"] <= 8 for one in statements)
    assert joint["pld"] < sum(one.epsilons["pld"] for one in statements)
    assert 0.5 < bound(scores, there) <= joint["pld"]


HEADS = 40


def seen(store: Path, repeats: int, shared: bool) -> tuple[float, float]:
    """Forty models of ε = 1/4 after one step at q = 1/20: what all weights reveal, and their joint statement."""
    plan = Plan.calibrated(population=CANARIES, batch_size=30, epochs=0.05, clip_norm=0.5, epsilon=0.25, delta=DELTA)
    assert plan.steps == 1
    scores, there, ledgers = [], [], []
    for seed in range(repeats):
        present = np.random.default_rng(seed).random(CANARIES) < 0.5
        labels = draw(store, present)
        if shared:
            run = experiment(seed, release=False)
            heads = [Head(plan, 0.1, f"head {index}") for index in range(HEADS)]
            outcomes = train_heads(run, heads, load_data(run, "release"), Featurizer(encode))
        else:
            runs = [experiment(seed) for _ in range(HEADS)]
            data = load_data(runs[0], "release")
            outcomes = [train_heads(run, [Head(plan, 0.1, "head")], data, Featurizer(encode))[0] for run in runs]
        scores.append(sum(score(one.weights["weight"].numpy()[:, :CANARIES], labels) for one in outcomes))
        there.append(present)
        ledgers = [outcome.ledger for outcome in outcomes]
    statements = [
        statement.Statement("canaries", CANARIES, plan.accounted(ledger.history()), ledger.certify(plan), DELTA)
        for ledger in ledgers
    ]
    total, present = np.concatenate(scores), np.concatenate(there)
    found = epsilon_lower_bound(total[present], total[~present], DELTA, confidence=0.999)
    return found, statement.joint_epsilons(statements)["pld"]


def test_heads_that_share_a_sample_reveal_more_than_their_joint_statement(store: Path) -> None:
    """Why each released model has a stream of its own: what independent samples would reveal is no bound for these."""
    found, joint = seen(store, 40, shared=True)
    assert found > 1.5 * joint


def test_models_with_samples_of_their_own_keep_to_their_joint_statement(store: Path) -> None:
    found, joint = seen(store, 15, shared=False)
    assert found <= joint < HEADS * 0.25


def test_models_for_release_are_never_trained_in_one_stream(store: Path) -> None:
    draw(store, np.ones(CANARIES, dtype=bool))
    first, second = experiment(1), experiment(1, epsilon=6.0)
    assert first.stream() != second.stream()
    assert experiment(1, release=False).stream() == experiment(1, release=False, epsilon=6.0).stream()
    plan = first.plan().calibrated()
    with pytest.raises(PrivacyError, match="share one secret sample"):
        train_heads(
            first, [Head(plan, 0.1, "a"), Head(plan, 0.2, "b")], load_data(first, "release"), Featurizer(encode)
        )


@pytest.fixture
def two(store: Path) -> list[Path]:
    draw(store, np.ones(CANARIES, dtype=bool))
    runs = [experiment(seed) for seed in (1, 2)]
    make(list(runs), "release", Execution(device="cpu"))
    return [run.directory("release") / "model.safetensors" for run in runs]


def stated(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What the command ends with: nothing, or an error."""
    monkeypatch.setattr("sys.argv", ["dpmix", "statement", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return str(caught.value.code or "")


def test_the_command_states_each_and_all_together(
    two: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stated(monkeypatch, "results/release") == ""
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [*sorted(map(str, two)), "all 2 models of canaries"]
    joint = float(next(csv.reader(io.StringIO(lines[-1].partition("ε = ")[2])))[0].split()[0])
    assert joint == pytest.approx(recomputed(two), rel=2e-3)
    assert "one image of 600 of canaries" in lines[0]


def test_the_command_refuses_what_no_epsilon_covers(
    two: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = experiment(3, release=False)
    make([run], "release", Execution(device="cpu"))
    assert "without release: true" in stated(monkeypatch, "results/release")
    Path("empty").mkdir()
    assert "holds no model.safetensors" in stated(monkeypatch, "empty")
    assert not capsys.readouterr().out


def test_a_file_that_claims_too_little_is_refused(
    two: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file

    with safe_open(two[0], framework="pt") as file:
        said = file.metadata()
    save_tensors(two[0], load_file(two[0]), {**said, "epsilon_pld": "0.1"})
    assert "claims less than its own steps spend" in stated(monkeypatch, str(two[0]))
    assert not capsys.readouterr().out


def test_data_sets_of_two_names_may_hold_the_same_image(
    two: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They may share a folder, or one may be a part of the other: what all files reveal is stated too."""
    from safetensors.torch import load_file

    with safe_open(two[0], framework="pt") as file:
        said = file.metadata()
    same = statement.joint_epsilons([statement.read_statement(path) for path in two])
    save_tensors(two[0], load_file(two[0]), {**said, "dataset": "part", "population": "300"})
    assert statement.joint_epsilons([statement.read_statement(path) for path in two]) == same
    assert stated(monkeypatch, "results/release", str(two[0])) == ""
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[-1].startswith("all 2 models, for an image that is in all data sets: ε = ")
    shown = float(lines[-1].partition("ε = ")[2].split()[0])
    assert same["pld"] <= shown <= same["pld"] + 1e-4


@pytest.mark.parametrize(
    ("mechanism", "words"),
    [("[]", "is not a whole released model"), (None, "lists fewer steps than its ε is of")],
)
def test_a_file_that_lists_fewer_steps_is_refused(
    two: list[Path], monkeypatch: pytest.MonkeyPatch, mechanism: str | None, words: str
) -> None:
    from safetensors.torch import load_file

    with safe_open(two[0], framework="pt") as file:
        said = file.metadata()
    row = statement.read_statement(two[0]).mechanism[0]
    fewer = mechanism or json.dumps(as_rows([row._replace(steps=row.steps // 2)]))
    save_tensors(two[0], load_file(two[0]), {**said, "mechanism": fewer})
    assert words in stated(monkeypatch, str(two[0]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": "wide"}, "is not a whole released model"),
        ({"more": 1}, "is not a whole released model"),
        ({"steps": None}, "is not a whole released model"),
        ({"width": float("nan")}, "is not a whole released model; copy or make it again"),
        ({"truncation": 0.5}, "truncation 0.5 is not a finite number >= 1"),
    ],
)
def test_damaged_steps_of_model_mix_are_one_line(
    two: list[Path], monkeypatch: pytest.MonkeyPatch, change: dict[str, object], words: str
) -> None:
    from safetensors.torch import load_file

    with safe_open(two[0], framework="pt") as file:
        said = file.metadata()
    row = {**statement.read_statement(two[0]).mechanism[0]._asdict(), "width": 2.0, "truncation": 4.0}
    save_tensors(two[0], load_file(two[0]), {**said, "mixed": json.dumps([{**row, **change}])})
    found = stated(monkeypatch, str(two[0]))
    assert words in found
    assert "\n" not in found.strip()
