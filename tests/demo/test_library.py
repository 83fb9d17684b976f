"""Encoders that are trained here are fetched by training them: on drawn digits, or on the images that are given."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from dpmix.demo.library import TRAINED_HERE
from dpmix.demo.strokes import CLASSES
from dpmix.models import small_encoders
from dpmix.models.encoder_files import load_encoder
from dpmix.params.registries import encoder_library
from tests.models.conftest import fetch, spec

pytestmark = pytest.mark.filterwarnings("ignore")


def test_it_owns_its_names_and_no_other() -> None:
    for architecture in small_encoders.RECIPES:
        assert encoder_library(architecture) is TRAINED_HERE
    assert encoder_library("tiny-vitt") is not TRAINED_HERE


def test_drawn_digits_and_given_images_make_an_encoder_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setitem(
        small_encoders.RECIPES, "tiny-vit", dataclasses.replace(small_encoders.RECIPES["tiny-vit"], steps=3, batch=8)
    )
    monkeypatch.chdir(tmp_path)
    for index, name in enumerate(("ant", "bee", "bee")):
        Path("d", name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 24, 3), 50 * index, np.uint8)).save(f"d/{name}/{index}.png")
    fetch("tiny-vit", "strokes", Path("digits"))
    public = spec("tiny-vit", "public").model_copy(update={"images": "d", "resolution": 16})
    public.library.fetch(public, Path("given"))
    digits, given = load_encoder(Path("digits")), load_encoder(Path("given"))
    assert digits.zero_shot_weights(CLASSES).shape == (10, 64)
    image = torch.full((1, 3, 16, 16), 0.5)
    assert digits(image).shape == (1, 64)
    assert not torch.equal(digits(image), given(image))
