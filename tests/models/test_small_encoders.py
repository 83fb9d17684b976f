"""The architectures that are trained here build, and map images of their own size to embeddings of their own length."""

import pytest
import torch

from dpmix.models.small_encoders import ARCHITECTURES, RECIPES, TEXT_TOWER, configuration
from dpmix.params.registries import encoder_library


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_is_built_as_its_recipe_says(architecture: str) -> None:
    recipe = RECIPES[architecture]
    model, visual, side = encoder_library(architecture).skeleton(architecture, torch.device("meta"))
    assert side == recipe.vision["image_size"]
    assert visual(torch.empty(3, 3, side, side, device="meta")).shape == (3, recipe.dim)
    captions = torch.zeros(2, TEXT_TOWER["context_length"], dtype=torch.long, device="meta")
    assert model.encode_text(captions).shape == (2, recipe.dim)  # type: ignore[operator]
    assert configuration(architecture)["embed_dim"] == recipe.dim
