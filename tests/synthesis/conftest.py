"""A real pipeline after two steps of training, and the settings to draw with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dpmix.demo import diffusion
from dpmix.demo.strokes import draw

CLASSES = ("one", "group/two", "three")

SETTINGS: dict[str, Any] = {"guidance_scale": 1.0, "steps": 2, "resolution": 16, "batch_size": 4}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real pipeline after two steps of training: it loads and samples as the demo's does."""
    folder = tmp_path_factory.mktemp("model") / "diffusion"
    images, labels = draw(32, seed=0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(diffusion, "_AUTOENCODER_STEPS", 2)
        patched.setattr(diffusion, "_UNET_STEPS", 2)
        diffusion.train_diffusion(images, labels % 3, ("one", "group two", "three"), folder, seed=0)
    return folder


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def pixels(out: Path) -> dict[str, np.ndarray]:
    return {str(path.relative_to(out)): np.asarray(Image.open(path)) for path in sorted(out.rglob("*.png"))}
