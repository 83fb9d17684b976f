"""A model's folder as training leaves it: a head on the smallest encoder, trained on shapes and released."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from dpmix.artefacts.data import EncoderModel
from dpmix.artefacts.experiment import Experiment
from dpmix.own.model import model_folder
from dpmix.own.model.model_folder import ModelFolder
from dpmix.training.runner import make
from tests.training.conftest import CLASSES, ENCODER, World, draw

Written = Callable[..., ModelFolder]


class Made(NamedTuple):
    """A run for release: its `model.safetensors`, beside its `metrics.json`; its encoder; the folder written of it."""

    model: Path
    encoder: Path
    folder: Path


def write(run: Experiment, folder: str | Path = "shapes-model", **more: Any) -> ModelFolder:
    """The folder of a run that was made."""
    encoder = EncoderModel(encoder=ENCODER).path("demo").parent if run.model.frozen else None
    model = run.directory("demo") / "model.safetensors"
    return model_folder.write(folder, model=model, encoder=encoder, **more)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path) -> Made:
    """A head that was trained in three epochs, and its folder; for tests that change neither."""
    where = tmp_path_factory.mktemp("shapes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        world = World(where, encoder_folder)
        world.write_inputs()
        run = world.experiment(release=True)
        make([run], "demo")
        folder = write(run, privacy={"learning_rate": "rule", "command": "dpmix train shapes"})
        return Made((run.directory("demo") / "model.safetensors").resolve(), encoder_folder, folder.path.resolve())


@pytest.fixture
def model(shapes: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFolder:
    """A copy of the folder, `shapes-model` in the working directory, which is empty but for it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shapes.folder, "shapes-model")
    return model_folder.read("shapes-model")


@pytest.fixture
def written(shapes: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Writes a folder of the run into an empty working directory; arguments as of `model_folder.write`."""
    monkeypatch.chdir(tmp_path)

    def again(folder: str = "shapes-model", **more: Any) -> ModelFolder:
        return model_folder.write(folder, **{"model": shapes.model, "encoder": shapes.encoder, **more})

    return again


def write_images(folder: Path, count: int = 12, seed: int = 7) -> list[Path]:
    """Images of the test set's kind in class folders, as PNG; sorted by path."""
    images, labels = draw(count, seed)
    paths = []
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / f"class {label}" / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(path)
        paths.append(path)
    assert set(labels.tolist()) == set(range(min(CLASSES, count)))
    return sorted(paths)
