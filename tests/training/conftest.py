"""A tiny world: image stores, a real OpenCLIP encoder and noise plans, written where a run looks for them."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dpmix.artefacts.data import EncoderModel, ImageStore, SyntheticSet, SyntheticStore
from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.plan_file import PlanFile
from dpmix.data.images import Images
from dpmix.files import write_json
from dpmix.params.models import EncoderSpec, WideResNetSpec
from dpmix.params.specs import DatasetSpec, DiffusionSpec
from dpmix.privacy.plan import Plan
from tests.disks import small_disk as small_disk

if TYPE_CHECKING:
    from tests.training.reference import Followed, Train

CLASSES, TRAIN, TEST, PIXELS = 4, 96, 40, 16
DATASET = DatasetSpec(
    name="shapes", label="Shapes", source="folder", path="raw", classes=CLASSES, train=TRAIN, test=TEST
)  # fmt: skip
DIFFUSION = DiffusionSpec(
    name="brush", model="someone/brush", guidance_scale=7.5, steps=25, resolution=64, scheduler="DDIMScheduler"
)
SYNTHETIC = SyntheticSet(dataset=DATASET, size=48, diffusion=DIFFUSION, names_from=PIXELS)
ENCODER = EncoderSpec(
    kind="encoder", name="eye", label="Eye", architecture="tiny", weights="none", resolution=16, standardize="public"
)
NETWORK = WideResNetSpec(
    kind="wide-resnet",
    name="net",
    label="Net",
    depth=10,
    width=1,
    groups=2,
    base_channels=4,
    stem_stride=2,
    resolution=16,
)


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images whose class is the quarter that is bright: uint8 [count, 3, R, R], int64 [count]."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = random.integers(0, 120, (count, 3, PIXELS, PIXELS))
    half = PIXELS // 2
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[:, row * half : (row + 1) * half, column * half : (column + 1) * half] += 100
    return images.astype(np.uint8), labels.astype(np.int64)


def write_store(folder: Path, **splits: tuple[np.ndarray, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in splits.items():
        np.save(folder / f"{split}_images.npy", images)
        np.save(folder / f"{split}_labels.npy", labels)
    sizes = {split: len(labels) for split, (_, labels) in splits.items()}
    classes = [f"class {number}" for number in range(CLASSES)]
    meta = {"classes": classes, "resolution": PIXELS, "channels": 3, "sizes": sizes, "split": "given"}
    write_json(folder / "meta.json", meta)


@functools.cache
def plan_for(spec: PlanFile, noise_multiplier: float | None = None) -> Plan:
    """The calibrated plan, or one with a given noise, which may not meet its ε."""
    if noise_multiplier is None and spec.bands == 1:
        return spec.calibrated()
    without = {"semantics", "unit", "bands", "batches", "update", "mix_width", "truncation", "calibration"}
    values = spec.model_dump(exclude=without)
    if spec.bands > 1:
        from dpmix.privacy.banded_plan import banded_plan

        return banded_plan(**values, bands=spec.bands, kind="sqrt")
    if spec.update == "model-mix":
        return replace(spec.calibrated(), noise_multiplier=noise_multiplier)
    return Plan.make(**values, noise_multiplier=noise_multiplier)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest encoder that OpenCLIP makes, with random weights."""
    import open_clip

    from dpmix.models.libraries.open_clip import save_open_clip

    config = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": PIXELS, "patch_size": 8, "width": 16, "head_width": 16, "layers": 1},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(**config)
    out = tmp_path_factory.mktemp("encoder") / "model"
    save_open_clip(model, config, {"mean": [0.5] * 3, "std": [0.5] * 3}, out)
    return out


@dataclass(frozen=True)
class World:
    """Makes experiments, and the files that they need."""

    folder: Path
    encoder: Path

    def experiment(self, **changes: Any) -> Experiment:
        settings: dict[str, Any] = {
            "dataset": DATASET, "model": ENCODER, "method": "dp-mix-diff", "synthetic": SYNTHETIC, "epsilon": 2.0,
            "delta": 1e-5, "accountant": "rdp", "clip_norm": 1.0, "batch_size": 24, "epochs": 3, "learning_rate": 4.0,
            "k_base": 2, "k_self": 2, "k_diff": 1, "transforms": ("crop",), "padding": 1, "seed": 1,
        }  # fmt: skip
        experiment = Experiment(**{**settings, **changes})
        self.plan(experiment)
        return experiment

    def scratch(self, **changes: Any) -> Experiment:
        settings = {"model": NETWORK, "synthetic": None, "k_diff": 0, "epochs": 2, "learning_rate": 0.5}
        return self.experiment(**{**settings, **changes})

    def plan(self, experiment: Experiment, noise_multiplier: float | None = None) -> Plan:
        plan = plan_for(experiment.plan(), noise_multiplier)
        write_json(experiment.plan().path("demo"), plan.to_json())
        return plan

    def write_images(self, test: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        store = ImageStore(dataset=DATASET, resolution=PIXELS).path("demo").parent
        write_store(store, train=draw(TRAIN, 0), test=test or draw(TEST, 1))

    def write_inputs(self) -> None:
        """The images, D and the encoder, into the working directory."""
        self.write_images()
        write_store(SyntheticStore(synthetic=SYNTHETIC, resolution=PIXELS).path("demo").parent, train=draw(48, 2))
        target = EncoderModel(encoder=ENCODER).path("demo").parent
        target.parent.mkdir(parents=True)
        os.symlink(self.encoder, target)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_folder: Path) -> World:
    """An empty folder, made the working directory, with stores and an encoder."""
    monkeypatch.chdir(tmp_path)
    made = World(tmp_path, encoder_folder)
    made.write_inputs()
    return made


@dataclass
class Recorder:
    """A noise source that notes what it is asked to add, and adds what it is told to (nothing)."""

    calls: list[tuple[int, str, float, Tensor]]
    then: Callable[[int], None] = lambda step: None

    def add(self, total: Tensor, std: float | Tensor, *, step: int, name: str) -> Tensor:
        """See `dpmix.privacy.noise.NoiseSource`."""
        self.then(step)
        self.calls.append((step, name, float(std), total.clone()))
        return total

    def totals(self) -> Tensor:
        """Every clipped sum so far, flattened."""
        return torch.cat([total.flatten() for *_, total in self.calls])


@pytest.fixture
def recorder() -> Recorder:
    return Recorder([])


def blocks(images: Tensor) -> Tensor:
    """The stand-in for an encoder where one is a plug: brightness of 4 x 4 blocks, [m, 3, R, R] -> [m, 16]."""
    return torch.nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), PIXELS // 4).flatten(1)


def as_images(pair: tuple[np.ndarray, np.ndarray]) -> Images:
    return Images(*pair, tuple(f"class {number}" for number in range(CLASSES)))


@pytest.fixture(params=["network", "head"])
def train(world: World, request: pytest.FixtureRequest) -> "Train":
    """One model trained for nine steps in four epochs; noisy enough that no epoch is like another."""
    # Imported here, because it imports this file.
    from dpmix.training.heads import Head
    from tests.training import reference

    def network(compare: bool = False, **changes: Any) -> "Followed":
        return reference.network(world.scratch(batch_size=40, clip_norm=3.0, epochs=4, **changes), 0.3, compare)

    def head(compare: bool = False, **changes: Any) -> "Followed":
        experiment = world.experiment(batch_size=40, clip_norm=0.5, epochs=4, **changes)
        plan = plan_for(experiment.plan(), 20.0)
        another = Head(plan, 0.5, "another", momentum=0.3, record_magnitudes=True)
        wanted = Head(plan, 4.0, "wanted", momentum=0.5, record_magnitudes=True)
        return reference.stream(experiment, [another, wanted])[1]

    return network if request.param == "network" else head
