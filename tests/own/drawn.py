"""Small folders of drawn images, whose classes are colours, and an encoder under which a run takes seconds."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dpmix.models import small_encoders

# A run of thirty-odd steps, on an encoder that is trained on drawn digits.
QUICK: dict[str, Any] = {
    "encoder": "tiny-vit/strokes", "side": 16, "k_base": 2, "k_self": 1, "batch_size": 8, "epochs": 2,
}  # fmt: skip
COLOURS = {"bile": (60, 200, 60), "blood": (200, 60, 60), "water": (60, 60, 200)}


def draw(folder: Path, per_class: int, seed: int = 0, *, classes: int = 3, size: tuple[int, int] = (24, 20)) -> Path:
    """Noisy images, `size` (width and height) in pixels, in a folder for each class."""
    random = np.random.default_rng(seed)
    for name, colour in list(COLOURS.items())[:classes]:
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = np.clip(random.normal(colour, 60, (*size[::-1], 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def by_person(folder: Path, images: Path, persons: int = 50) -> Path:
    """The images of class folders, each copied into the folder of one of so many persons within its class."""
    for number, path in enumerate(sorted(images.rglob("*.png"))):
        place = folder / path.parent.name / f"p{number % persons}" / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return folder


def split_folders(root: Path) -> Path:
    """Three classes of ten training and three test images."""
    for split, count in (("train", 10), ("test", 3)):
        draw(root / split, count, seed=len(split))
    return root


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`my-images`, three classes of 50 images, in the working directory."""
    monkeypatch.chdir(tmp_path)
    recipe = dataclasses.replace(small_encoders.RECIPES["tiny-vit"], steps=20, batch=16)
    monkeypatch.setitem(small_encoders.RECIPES, "tiny-vit", recipe)
    return draw(Path("my-images"), 50)


@pytest.fixture
def quick() -> dict[str, Any]:
    """Options of `train` for a quick run."""
    return dict(QUICK)


@pytest.fixture
def tiny(encoder_folder: Path) -> dict[str, Any]:
    """Options of `train` for the cheapest run there is: fifteen steps on an encoder with random weights."""
    return {"encoder": str(encoder_folder), "side": 16, "method": "self-aug", "k_base": 1, "batch_size": 8, "epochs": 1}
