"""Tiny encoders, `models.small_encoders` and `models.tiny_convnext`: trained, written, and read again."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from dpmix.demo import encoder
from dpmix.demo.strokes import CLASSES, draw
from dpmix.errors import ParamsError
from dpmix.models import small_encoders
from dpmix.models.encoder_files import load_encoder

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("architecture", ["tiny-vit", "tiny-convnext"])
def test_a_short_training_beats_chance_and_repeats(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        small_encoders.RECIPES, architecture, dataclasses.replace(small_encoders.RECIPES[architecture], steps=80)
    )
    images, labels = draw(1200, seed=0)
    state = torch.random.get_rng_state()
    for name in ("first", "second"):
        encoder.train_encoder(architecture, images[:1000], labels[:1000], CLASSES, tmp_path / name, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)  # no global randomness is used
    weights = [(tmp_path / name / "open_clip_model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]

    model = load_encoder(tmp_path / "first")
    assert (model.dim, model.resolution) == (64, 16)
    embeddings = functional.normalize(model(torch.from_numpy(images[1000:]) / 255), dim=1)
    predicted = (embeddings @ model.zero_shot_weights(CLASSES).T).argmax(1)
    assert (predicted.numpy() == labels[1000:]).mean() > 0.5


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    images, labels = draw(10, seed=0)
    with pytest.raises(ParamsError, match="tiny-vit, tiny-convnext"):
        encoder.train_encoder("huge-vit", images, labels, CLASSES, tmp_path / "out", seed=0)


def test_any_public_images_train_an_encoder_whose_batch_norm_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        small_encoders.RECIPES,
        "small-repvgg",
        dataclasses.replace(small_encoders.RECIPES["small-repvgg"], steps=60, batch=32),
    )
    random = np.random.default_rng(0)
    labels = np.arange(160) % 2
    # Two textures: stripes along either side.
    stripes = np.broadcast_to(np.where(np.arange(32) % 8 < 4, 60, 190), (32, 32))
    images = np.stack([stripes if label else stripes.T for label in labels])[:, None].repeat(3, axis=1)
    images = (images + random.integers(-40, 40, images.shape)).astype(np.uint8)
    encoder.train_encoder("small-repvgg", images[:128], labels[:128], ("rows", "columns"), tmp_path / "out", seed=1)

    model = load_encoder(tmp_path / "out")
    assert (model.dim, model.resolution) == (192, 32)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model._visual.modules())
    assert model._mean.flatten().tolist() == pytest.approx(images[:128].mean(axis=(0, 2, 3)) / 255, abs=0.006)
    embeddings = functional.normalize(model(torch.from_numpy(images[128:]) / 255), dim=1)
    predicted = (embeddings @ model.zero_shot_weights(("rows", "columns")).T).argmax(1)
    assert (predicted.numpy() == labels[128:]).mean() > 0.8
