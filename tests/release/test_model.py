"""A released model in other hands: the file, the encoder's folder, and images on disk."""

import csv
import io
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from dpmix.artefacts.data import EncoderModel
from dpmix.artefacts.experiment import Experiment
from dpmix.cli import main
from dpmix.data.images import load
from dpmix.errors import DataError
from dpmix.execution import default_device
from dpmix.files import read_json
from dpmix.release import model as release_model
from dpmix.release.statement import read_statement
from dpmix.seals import save_tensors
from dpmix.training.runner import make
from tests.training.conftest import ENCODER, World

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["scratch", "head", "raw features"])
def run(world: World, request: pytest.FixtureRequest) -> Experiment:
    if request.param == "scratch":
        made = world.scratch(release=True)
    elif request.param == "head":
        made = world.experiment(release=True)
    else:
        plain = ENCODER.model_copy(update={"standardize": "none"})
        made = world.experiment(release=True, model=plain)
    make([made], "demo")
    return made


def write_test_images(run: Experiment, folder: Path) -> tuple[list[Path], list[str]]:
    """The test set as files, in folders of no meaning, and their true classes."""
    test = load(run.images().path("demo").parent, "test")
    paths = []
    for index, image in enumerate(test.images):
        paths.append(folder / f"{index % 3}" / f"{index:03d}.png")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(paths[-1])
    return paths, [test.classes[label] for label in test.labels]


def test_it_classifies_as_it_was_measured(run: Experiment, tmp_path: Path) -> None:
    paths, classes = write_test_images(run, tmp_path / "images")
    model = release_model.load(run.directory("demo") / "model.safetensors")
    found = list(release_model.classify(model, paths, batch=7))
    right = sum(name == true for (name, _), true in zip(found, classes, strict=True))
    metrics = read_json(run.path("demo"))
    assert round(100 * right / len(classes), 6) == metrics["accuracy"]
    assert all(1 / len(set(classes)) <= probability <= 1 for _, probability in found)
    assert model.statement.epsilons == pytest.approx(
        {k: v for k, v in metrics["epsilon"].items() if k != "target"}, rel=1e-5
    )
    assert model.statement.delta == run.delta


def classify(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str | int | None:
    monkeypatch.setattr("sys.argv", ["dpmix", "classify", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_from_the_command_line_and_elsewhere(
    run: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model's file was given away; the encoder's folder lies somewhere else."""
    paths, _ = write_test_images(run, tmp_path / "images")
    model = run.directory("demo") / "model.safetensors"
    device = default_device()  # as the command has it
    expected = list(release_model.classify(release_model.load(model, device=device), paths, 64, device))
    encoder = EncoderModel(encoder=ENCODER).path("demo").parent.resolve()
    (tmp_path / "elsewhere").mkdir()
    model.rename(tmp_path / "elsewhere" / "given.safetensors")
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    assert classify(monkeypatch, "given.safetensors", "../images/0", paths[1], "--encoder", encoder) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["image"] for row in rows] == [f"../images/0/{n:03d}.png" for n in range(0, 40, 3)] + [str(paths[1])]
    assert [row["class"] for row in rows[:-1]] == [name for name, _ in expected[::3]]
    assert float(rows[-1]["probability"]) == pytest.approx(expected[1][1], abs=1e-3)
    assert "given.safetensors: ε = " in err
    assert "δ = 1e-05" in err


def test_what_cannot_be_used_is_one_line(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = world.experiment(release=True, epochs=1)
    make([run], "demo")
    model = run.directory("demo") / "model.safetensors"
    (picture,), _ = write_test_images(run, tmp_path / "images")[0][:1], None
    for arguments, words in (
        (("gone.safetensors", picture), "gone.safetensors does not exist; a run with release: true leaves it"),
        ((model, "gone.png"), "gone.png does not exist; give image files"),
        ((tmp_path / "other.safetensors", picture), "other.safetensors is not a whole released model"),
        ((tmp_path / "cut.safetensors", picture), "cut.safetensors is not a whole released model"),
        ((tmp_path / "half.safetensors", picture), "half.safetensors is not a whole released model"),
        ((model, picture, "--encoder", tmp_path / "none"), "none does not exist; fetch tiny / none into it"),
    ):
        save_file({}, tmp_path / "other.safetensors")
        with safe_open(model, framework="pt") as file:
            save_tensors(tmp_path / "half.safetensors", {"bias": file.get_tensor("bias")}, file.metadata())
        (tmp_path / "cut.safetensors").write_bytes(model.read_bytes()[:-5])
        error = str(classify(monkeypatch, *arguments))
        assert error.startswith("error: ")
        assert words in error
        assert len(error.splitlines()) == 1


def test_a_damaged_image_is_named_and_the_others_are_classified(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = world.experiment(release=True, epochs=1)
    make([run], "demo")
    picture = write_test_images(run, tmp_path / "images")[0][0]
    damaged = tmp_path / os.fsdecode(b"caf\xe9.png")
    damaged.write_text("no picture")
    capsys.readouterr()
    assert classify(monkeypatch, run.directory("demo") / "model.safetensors", damaged, picture) == 1
    out, err = capsys.readouterr()
    assert [row["image"] for row in csv.DictReader(io.StringIO(out))] == [str(picture)]
    assert f"skipped: {tmp_path}/caf\\udce9.png cannot be read as an image" in err
    assert "caf\\udce9.png" in err.splitlines()[-1]


def test_a_broken_encoder_is_named(world: World, tmp_path: Path) -> None:
    run = world.experiment(release=True, epochs=1)
    make([run], "demo")
    with pytest.raises(DataError, match="holds no encoder"):
        release_model.load(run.directory("demo") / "model.safetensors", encoder=tmp_path)


def other_encoder(out: Path, width: int) -> Path:
    """An encoder of the world's architecture with other random weights, or of another width."""
    import open_clip
    import torch

    from dpmix.models.libraries.open_clip import save_open_clip

    config = {
        "embed_dim": width,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 16, "layers": 1},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = open_clip.CLIP(**config)
    save_open_clip(model, config, {"mean": [0.5] * 3, "std": [0.5] * 3}, out)
    return out


def test_a_head_knows_its_encoder(world: World, tmp_path: Path, encoder_folder: Path) -> None:
    run = world.experiment(release=True, epochs=1)
    make([run], "demo")
    model = run.directory("demo") / "model.safetensors"
    # A copy in another folder is the same encoder, whatever else lies there.
    copied = shutil.copytree(encoder_folder, tmp_path / "copied")
    (copied / "digests.json").unlink()
    assert release_model.load(model, encoder=copied).classes == release_model.load(model).classes
    others = other_encoder(tmp_path / "others", width=8)
    with pytest.raises(DataError) as caught:
        release_model.load(model, encoder=others)
    assert str(caught.value) == (
        f"{others} has other weights than the encoder that {model} was trained on; put the head's own there, or name "
        "its folder as the encoder"
    )


def test_a_head_of_before_says_at_least_that_an_encoder_is_of_another_width(world: World, tmp_path: Path) -> None:
    run = world.experiment(release=True, epochs=1)
    make([run], "demo")
    model, old = run.directory("demo") / "model.safetensors", tmp_path / "old.safetensors"
    with safe_open(model, framework="pt") as file:
        said, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(weights, old, {name: said[name] for name in said if name not in ("encoder", "sha256")})
    assert release_model.load(old).classes == release_model.load(model).classes
    wider = other_encoder(tmp_path / "wider", width=12)
    with pytest.raises(DataError, match=r"wider gives 12 features and the head was trained on 8, so it is another enc"):
        release_model.load(old, encoder=wider)


def test_a_changed_weight_or_word_of_a_released_model_is_one_line(world: World) -> None:
    run = world.experiment(release=True, epochs=1)
    make([run], "demo")
    model = run.directory("demo") / "model.safetensors"
    content = model.read_bytes()
    for changed in (content[:-1] + bytes([content[-1] ^ 1]), content.replace(b'\\"class 1\\"', b'\\"class 7\\"')):
        assert changed != content
        model.write_bytes(changed)
        for read in (release_model.load, read_statement):
            with pytest.raises(DataError, match=r"model\.safetensors was damaged or changed after .*; copy or make it"):
                read(model)
