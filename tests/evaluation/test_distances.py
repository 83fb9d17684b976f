"""Tables 7 and 8: what `measure` writes, against distances worked out here, on features that are computed here."""

import urllib.request
from pathlib import Path
from typing import Any, Literal

import numpy as np
import open_clip
import pytest
import scipy.linalg
import torch

from dpmix.artefacts.data import EncoderModel, ImageStore, SyntheticSet, SyntheticStore
from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.measurements import Distance
from dpmix.data.images import Images
from dpmix.evaluation import distances
from dpmix.execution import Execution
from dpmix.files import read_json, write_json
from dpmix.models.libraries.open_clip import save_open_clip
from dpmix.params.models import EncoderSpec
from dpmix.params.specs import DatasetSpec, DiffusionSpec
from dpmix.random import KeyedRandom
from dpmix.training.data import view_settings
from dpmix.views.mixing import make_views

pytestmark = pytest.mark.filterwarnings("ignore")

# More than one batch on either side, and no whole number of batches.
SIZES, PIXELS = {"train": 300, "test": 290, "synthetic": 270}, 16

# Darker and brighter: sets that are told apart by which is which.
RANGES = {"train": (0, 180), "test": (60, 256), "synthetic": (20, 120)}

DATASET = DatasetSpec(
    name="shapes", label="Shapes", source="folder", path="raw", classes=3, train=SIZES["train"], test=SIZES["test"]
)

BRUSH = DiffusionSpec(name="brush", model="b", guidance_scale=1.0, steps=1, resolution=16, scheduler="DDIMScheduler")

D = SyntheticSet(dataset=DATASET, size=SIZES["synthetic"], diffusion=BRUSH, names_from=PIXELS)

ENCODER = EncoderSpec(kind="encoder", name="eye", label="Eye", architecture="tiny", weights="none", resolution=PIXELS)

COLOURS = {"mean": [0.4] * 3, "std": [0.3] * 3}

CONFIG: dict[str, Any] = {
    "embed_dim": 6,
    "vision_cfg": {"image_size": PIXELS, "patch_size": 8, "width": 16, "head_width": 16, "layers": 1},
    "text_cfg": {"context_length": 16, "vocab_size": 8, "width": 16, "heads": 1, "layers": 1},
}

SPLITS = tuple(SIZES)

PLAIN: dict[str, Any] = {"transforms": (), "padding": 0, "k_self": 0, "k_diff": 0}


def views(**changes: Any) -> Experiment:
    settings: dict[str, Any] = {
        "dataset": DATASET, "model": ENCODER, "method": "m", "synthetic": D, "epsilon": 1.0, "delta": 1e-5,
        "accountant": "rdp", "clip_norm": 1.0, "batch_size": 10, "epochs": 1, "learning_rate": 1.0, "k_base": 2,
        "k_self": 3, "k_diff": 1, "transforms": ("crop", "flip"), "padding": 2, "seed": 1,
    }  # fmt: skip
    return Experiment(**{**settings, **changes})


def distance(first: str, second: str, **changes: Any) -> Distance:
    settings = {"dataset": DATASET, "extractor": ENCODER, "first": first, "second": second, "synthetic": D}
    return Distance(**{**settings, "resolution": PIXELS, **changes})


@pytest.fixture(scope="module")
def tower() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return open_clip.CLIP(**CONFIG).eval()


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tower: torch.nn.Module) -> dict[str, Images]:
    """Stores of noise and an encoder, where `measure` looks for them; and what is in the stores."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    found = {}
    for split, count in SIZES.items():
        images = random.integers(*RANGES[split], (count, 3, PIXELS, PIXELS)).astype(np.uint8)
        found[split] = Images(images, random.integers(0, 3, count), ("a", "b", "c"))
    stores = {ImageStore(dataset=DATASET, resolution=PIXELS): ("train", "test")}
    for store, splits in {**stores, SyntheticStore(synthetic=D, resolution=PIXELS): ("synthetic",)}.items():
        folder = store.path("demo").parent
        folder.mkdir(parents=True)
        sizes = {}
        for split in splits:
            name = "train" if split == "synthetic" else split
            sizes[name] = SIZES[split]
            np.save(folder / f"{name}_images.npy", found[split].images)
            np.save(folder / f"{name}_labels.npy", found[split].labels)
        meta = {"classes": ["a", "b", "c"], "resolution": PIXELS, "channels": 3, "sizes": sizes}
        write_json(folder / "meta.json", meta)
    save_open_clip(tower, CONFIG, COLOURS, EncoderModel(encoder=ENCODER).path("demo").parent)
    return found


def features(tower: torch.nn.Module, pixels: np.ndarray | torch.Tensor) -> np.ndarray:
    """Of bytes, or of numbers in [0, 1], float64 [m, dim]."""
    images = torch.from_numpy(pixels).float() / 255 if isinstance(pixels, np.ndarray) else pixels
    with torch.no_grad():
        return tower.encode_image((images - 0.4) / 0.3).double().numpy()


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """|m - m'|^2 + tr(S + S' - 2 (S S')^(1/2))."""
    covariances = [np.cov(one, rowvar=False) for one in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    apart = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    return float(apart + np.trace(sum(covariances) - 2 * root))


def measured(one: Distance) -> dict[str, Any]:
    distances.measure([one], "demo", Execution(device="cpu"))
    return read_json(one.path("demo"))


def close(value: float) -> Any:
    # Features are float32 sums of some hundred terms; the distance is of the order of the features' own squares.
    return pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("samples", [None, 37, 10**6])
@pytest.mark.parametrize(("first", "second"), [("train", "test"), ("train", "synthetic"), ("synthetic", "test")])
def test_between_sets(
    sets: dict[str, Images], tower: torch.nn.Module, first: str, second: str, samples: int | None
) -> None:
    record = measured(distance(first, second, samples=samples))
    counts = [min(samples or 10**9, SIZES[what]) for what in (first, second)]
    sides = [features(tower, sets[what].images[:count]) for what, count in zip((first, second), counts, strict=True)]
    assert record["distance"] == close(frechet(*sides))
    assert record["first"] == {"what": first, "images": counts[0]}
    assert record["second"] == {"what": second, "images": counts[1]}


@pytest.mark.parametrize("samples", [None, 37])
@pytest.mark.parametrize("second", ["train", "test", "synthetic"])
def test_of_views_that_are_the_images_themselves(
    sets: dict[str, Images], tower: torch.nn.Module, second: Literal["train", "test", "synthetic"], samples: int | None
) -> None:
    """Twice each, where nothing is cropped and nothing mixed."""
    record = measured(distance("views", second, views=views(**PLAIN), samples=samples))
    counts = [min(samples or 10**9, SIZES[what]) for what in ("train", second)]
    plain = features(tower, np.repeat(sets["train"].images[: counts[0]], 2, axis=0))
    assert record["distance"] == close(frechet(plain, features(tower, sets[second].images[: counts[1]])))
    assert record["first"] == {"what": "views", "images": 2 * counts[0]}
    assert record["second"] == {"what": second, "images": counts[1]}


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("changes", [{}, {"k_diff": 0}, {"k_base": 0, "k_diff": 2}])
def test_of_the_views_of_the_first_step(
    sets: dict[str, Images], tower: torch.nn.Module, changes: dict[str, Any], seed: int
) -> None:
    """Made in one piece here, base, synthetic and mixed ones together; `measure` makes them batch by batch."""
    experiment = views(**changes)
    record = measured(distance("views", "test", views=experiment, seed=seed))
    everyone = np.arange(SIZES["train"])
    random = KeyedRandom(seed, 0, everyone)
    made = make_views(sets["train"], everyone, view_settings(experiment), random, sets["synthetic"])
    assert made.images.shape[1] == experiment.views
    expected = frechet(features(tower, made.images.flatten(0, 1)), features(tower, sets["test"].images))
    assert record["distance"] == close(expected)
    assert record["first"]["images"] == experiment.views * SIZES["train"]


def test_a_record_says_what_it_is_of(sets: dict[str, Images]) -> None:
    several = [distance("train", "test"), distance("views", "train", views=views(**PLAIN), seed=3)]
    distances.measure(several, "demo", Execution(device="cpu"))
    folder = str(EncoderModel(encoder=ENCODER).path("demo").parent)
    for one in several:
        record = read_json(one.path("demo"))
        assert Distance.model_validate(record["distance_spec"]) == one
        assert record["extractor"] == folder
    assert read_json(several[0].path("demo"))["distance"] != read_json(several[1].path("demo"))["distance"]


def test_without_an_encoder_the_features_are_inceptions(
    sets: dict[str, Images], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are what is missing here: no measurement fetches them, since a cluster's nodes have no network."""

    def offline(*_: object, **__: object) -> None:
        raise AssertionError("a measurement asks for a download")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    one = distance("train", "test", extractor=None)
    with pytest.raises(
        Exception, match=r"InceptionV3's weights are not at data/inception/\S+/weights\.pth; run the step"
    ):
        distances.measure([one], "demo", Execution(device="cpu"))
    assert one.inception_weights() in one.inputs()
    assert not one.path("demo").exists()
