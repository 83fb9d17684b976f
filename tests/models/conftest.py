"""A tiny OpenCLIP model with random weights, in a folder, and images for it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dpmix.models.libraries.open_clip import save_open_clip
from dpmix.params.models import EncoderSpec

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)

PREPROCESS = {"mean": list(MEAN), "std": list(STD), "interpolation": "bicubic", "resize_mode": "shortest"}

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1}


def build(vision: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    import open_clip

    import dpmix.models.tiny_convnext  # noqa: F401

    config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": TEXT}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return open_clip.CLIP(**config), config


def spec(architecture: str, weights: str = "openai") -> EncoderSpec:
    """An encoder as params.yaml may describe it."""
    images = "public.zip" if weights == "public" else None
    return EncoderSpec(
        kind="encoder", name="eye", label="Eye", architecture=architecture, weights=weights, resolution=32,
        images=images,
    )  # fmt: skip


def fetch(architecture: str, weights: str, out: Path) -> None:
    """Fetch it into a folder, by its library."""
    encoder = spec(architecture, weights)
    encoder.library.fetch(encoder, out)


VISION = {
    "vit": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 16, "layers": 1},
    "convnext": {
        "image_size": 16,
        "timm_model_name": "dpmix_convnext_tiny16",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
    },
}


@pytest.fixture(scope="module", params=sorted(VISION))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, config = build(VISION[request.param])
    out = tmp_path_factory.mktemp("encoders") / request.param
    save_open_clip(model, config, PREPROCESS, out)
    return out


@pytest.fixture
def images() -> Tensor:
    return torch.rand(7, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def backbone(seed: int = 0) -> nn.Module:
    """timm's smallest network, with random weights."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model("test_vit", num_classes=0).eval()
    return model
