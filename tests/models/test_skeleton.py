"""A skeleton has the shape of the real network, and no memory."""

import pytest
import torch

from dpmix.models.skeleton import skeleton

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("architecture", "side", "dim"), [("ViT-B-16", 224, 512), ("timm/test_vit", 160, 64), ("tiny-convnext", 16, 64)]
)
def test_a_skeleton_has_the_shape_of_the_real_one_and_no_memory(architecture: str, side: int, dim: int) -> None:
    model, visual, resolution = skeleton(architecture, torch.device("meta"))
    assert resolution == side
    assert visual(torch.empty(2, 3, side, side, device="meta")).shape == (2, dim)
    assert all(parameter.is_meta for parameter in model.parameters())
