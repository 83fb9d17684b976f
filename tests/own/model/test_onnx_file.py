"""The ONNX file of a model's folder, run by another program in a process that has no torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from dpmix.artefacts.experiment import Experiment
from dpmix.errors import DpmixError
from dpmix.own.model import onnx_file
from dpmix.own.model.model_folder import ModelFolder
from dpmix.seals import read_record, save_tensors, write_record
from dpmix.training.runner import make
from tests import needs
from tests.own.folders import write
from tests.training.conftest import World

pytestmark = pytest.mark.filterwarnings("ignore")

# What a program that knows neither torch nor dpmix does with the file.
PROGRAM = """
import sys
for absent in ("torch", "dpmix", "onnx"):
    sys.modules[absent] = None
import json
import numpy
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
images = numpy.load("images.npy")
parts = [session.run(None, {"images": images[start : start + 3]})[0] for start in range(0, len(images), 3)]
numpy.save("found.npy", numpy.concatenate(parts))
print(json.dumps([session.get_modelmeta().custom_metadata_map["labels"], session.get_inputs()[0].shape]))
"""


def run_elsewhere(path: Path, images: np.ndarray) -> tuple[np.ndarray, list[str], list[object]]:
    """Probabilities, labels and the shape of the input, by a new process."""
    np.save("images.npy", images)
    run = subprocess.run([sys.executable, "-c", PROGRAM, path], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    labels, shape = json.loads(run.stdout)
    return np.load("found.npy"), json.loads(labels), shape


def pixels(folder: ModelFolder, count: int = 7) -> torch.Tensor:
    side, channels = folder.config["resolution"], folder.config["channels"]
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0))


def expected(folder: ModelFolder, images: torch.Tensor) -> np.ndarray:
    """Probabilities by the safetensors file."""
    found = torch.softmax(folder.load().logits(images), dim=1).numpy()
    assert np.ptp(found, axis=0).max() > 1e-3  # images differ
    return found


def renamed(run: Experiment) -> None:
    """Give the run's classes names that are not in the order of the alphabet."""
    model = run.directory("demo") / "model.safetensors"
    with safe_open(model, framework="pt") as file:
        said, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_tensors(model, weights, {**said, "classes": json.dumps(["yak", "ape", "zebra", "bee"])})


def at_side(run: Experiment, side: int) -> None:
    """Let the run's files say that its images are of another side than its encoder sees."""
    model, metrics = run.directory("demo") / "model.safetensors", read_record(run.path("demo"))
    with safe_open(model, framework="pt") as file:
        said, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_tensors(model, weights, {**said, "model": json.dumps({**json.loads(said["model"]), "resolution": side})})
    metrics["experiment"]["model"]["resolution"] = side
    write_record(run.path("demo"), metrics)


@pytest.mark.parametrize("kind", ["head", "head of another side", "network"])
def test_without_torch_it_gives_the_same_probabilities(world: World, kind: str) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        needs.module(name, needs.ONNX)
    run = (world.scratch if kind == "network" else world.experiment)(release=True, epochs=1)
    make([run], "demo")
    renamed(run)
    if kind == "head of another side":
        at_side(run, 24)
    folder = write(run)
    images = pixels(folder)
    onnx_file.write(folder, Path("shapes.onnx"))
    found, labels, shape = run_elsewhere(Path("shapes.onnx"), images.numpy())
    assert np.abs(found - expected(folder, images)).max() <= 1e-5
    assert labels == ["yak", "ape", "zebra", "bee"]
    assert shape[1:] == list(images.shape[1:])
    assert isinstance(shape[0], str)  # any batch


def test_the_module_that_is_exported_is_the_model(model: ModelFolder) -> None:
    images = pixels(model)
    assert np.abs(onnx_file.whole(model)(images).numpy() - expected(model, images)).max() <= 1e-6


def test_without_its_packages_it_is_one_line(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(DpmixError, match="ONNX needs onnx and onnxscript; pip install onnx onnxscript"):
        onnx_file.write(model, Path("shapes.onnx"))
    assert not Path("shapes.onnx").exists()
