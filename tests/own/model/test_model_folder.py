"""A model's folder: written whole or not at all, whole by itself, and read with one line for what is wrong."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from dpmix.errors import DataError, ParamsError
from dpmix.files import read_json, write_json
from dpmix.own.model import model_folder
from dpmix.own.model.model_folder import ModelFolder
from dpmix.release.model import load
from dpmix.training.runner import make
from tests.own.folders import Made, Written, write
from tests.training.conftest import CLASSES, NETWORK, PIXELS, World

pytestmark = pytest.mark.filterwarnings("ignore")


def test_it_is_whole_by_itself(shapes: Made, model: ModelFolder) -> None:
    """The copy of a copy classifies as the run's own file with the run's own encoder does."""
    pixels = torch.rand(5, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(0))
    expected = load(shapes.model, shapes.encoder).logits(pixels)
    assert torch.equal(model.load().logits(pixels), expected)
    assert sorted(path.name for path in model.path.iterdir()) == [
        "README.md", "config.json", "encoder", "model.safetensors", "privacy.json",
    ]  # fmt: skip
    assert not any(path.is_symlink() for path in model.path.rglob("*"))


def test_its_config_names_what_the_model_has(model: ModelFolder) -> None:
    config = model.config
    with safe_open(model.model, framework="np") as file:
        assert file.get_tensor("bias").shape == (config["num_classes"],)
    assert model.classes == tuple(f"class {number}" for number in range(CLASSES))
    assert [config["id2label"][str(config["label2id"][name])] for name in model.classes] == list(model.classes)
    encoder = model.load()
    assert config["preprocessing"]["input_size"] == [encoder.channels, encoder.resolution, encoder.resolution]
    assert config["preprocessing"]["mean"] == [0.5] * 3  # what the encoder's folder says
    assert config["settings"]["k_self"] == 2


def test_nothing_that_epsilon_does_not_cover_is_in_it(shapes: Made) -> None:
    """No accuracy, no time, no place: metrics.json has some of them and stays where it is."""
    accuracy = read_json(shapes.model.parent / "metrics.json")["accuracy"]
    assert accuracy > 0
    for name in ("config.json", "privacy.json"):
        text = (shapes.folder / name).read_text()
        assert "accuracy" not in text
        assert "seconds" not in text
        assert str(shapes.folder.parent) not in text
    assert not list(shapes.folder.rglob("metrics.json"))


def test_a_network_from_scratch_has_no_encoder(world: World) -> None:
    run = world.scratch(release=True, epochs=1)
    make([run], "demo")
    made = write(run)
    assert made.encoder is None
    assert made.load().logits(torch.zeros(2, 3, PIXELS, PIXELS)).shape == (2, CLASSES)
    assert made.config["architecture"] == NETWORK.kind
    with pytest.raises(ParamsError, match="is no head; leave out the encoder"):
        model_folder.write("other", model=run.directory("demo") / "model.safetensors", encoder=world.encoder)


def test_more_may_be_said_in_its_config_but_nothing_else(written: Written) -> None:
    split = {"test_share": 0.2, "key": "dpmix"}
    assert written(config={"split": split}).config["split"] == split
    with pytest.raises(ParamsError, match=r"config\.json has num_classes from the model itself"):
        written("other", config={"num_classes": 3})
    assert not Path("other").exists()


def test_what_cannot_be_written_leaves_what_was_there(written: Written, shapes: Made, tmp_path: Path) -> None:
    first = written()
    before = first.model.read_bytes()
    (tmp_path / "broken").mkdir()
    with pytest.raises(DataError, match="holds no encoder"):
        written(encoder=tmp_path / "broken")
    with pytest.raises(ParamsError, match="is a head; give the folder of its encoder"):
        written(encoder=None)
    assert first.model.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "shapes-model"]


def damage(name: str, how: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: how(folder / name)


@pytest.mark.parametrize(
    ("hurt", "words"),
    [
        (shutil.rmtree, "shapes-model does not exist; give the folder of a model"),
        (damage("privacy.json", Path.unlink), "has no privacy.json, so it is no model's folder"),
        (damage("model.safetensors", Path.unlink), "has no model.safetensors, so it is no model's folder"),
        (damage("config.json", lambda path: path.write_text("{")), "config.json is not valid JSON"),
        (damage("config.json", lambda path: write_json(path, {})), "config.json has no 'label_names', so it is not"),
        (damage("privacy.json", lambda path: write_json(path, [])), "holds a list and no JSON object; copy or make"),
        (damage("privacy.json", lambda path: write_json(path, {})), "no privacy record of this version"),
        (damage("encoder", shutil.rmtree), "encoder does not exist"),
        (damage("model.safetensors", lambda path: path.write_bytes(b"1")), "not a whole released model"),
    ],
)
def test_a_damaged_folder_is_one_line(model: ModelFolder, hurt: Callable[[Path], object], words: str) -> None:
    hurt(model.path)
    with pytest.raises(Exception, match=words) as caught:
        model_folder.read(model.path).load()
    assert type(caught.value).__module__ == "dpmix.errors"
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_is_no_folder(model: ModelFolder) -> None:
    with pytest.raises(DataError, match="is a file; give the folder"):
        model_folder.read(model.model)
    assert model_folder.is_one(model.path)
    assert not model_folder.is_one(model.path / "encoder")
