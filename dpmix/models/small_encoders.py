"""The architectures of encoders small enough to train in seconds or minutes on a processor.

Two for 16 px stand in the demo for the paper's ViT-B/16 and ConvNeXt-B. `small-repvgg`, for 32 px, learns from any
public images in class folders (`weights: public`).
"""

from dataclasses import dataclass
from typing import Any

TEXT_TOWER = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1}

# The drawn digits' own mean and standard deviation, to two digits.
_DIGITS = ((0.27,) * 3, (0.33,) * 3)


@dataclass(frozen=True)
class Recipe:
    """A small encoder's architecture and training settings.

    Attributes:
        dim: length of an embedding.
        vision: OpenCLIP's `vision_cfg`.
        steps: of AdamW with a one-cycle learning rate.
        batch: images in a step.
        learning_rate: the highest of the cycle.
        weight_decay: of AdamW.
        label_smoothing: of the cross-entropy.
        padding: pixels by which an image is moved at random, either way.
        flip: whether half of the images are mirrored.
        colours: mean and standard deviation that images are normalised by; None is those of the training images.
    """

    dim: int
    vision: dict[str, Any]
    steps: int
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    padding: int = 1
    flip: bool = False
    colours: tuple[tuple[float, ...], tuple[float, ...]] | None = _DIGITS


RECIPES = {
    "tiny-vit": Recipe(
        64,
        {"image_size": 16, "patch_size": 8, "width": 64, "head_width": 32, "layers": 3, "mlp_ratio": 2.0},
        steps=500,
    ),
    "tiny-convnext": Recipe(
        64,
        {
            "image_size": 16,
            "timm_model_name": "dpmix_convnext_tiny16",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
        },
        steps=500,
    ),
    "small-repvgg": Recipe(
        192,
        {
            "image_size": 32,
            "timm_model_name": "dpmix_repvgg_small32",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "none",
        },
        steps=1200,
        label_smoothing=0.1,
        padding=4,
        flip=True,
        colours=None,
    ),
}

ARCHITECTURES = tuple(RECIPES)


def configuration(architecture: str) -> dict[str, Any]:
    """The arguments of `open_clip.CLIP` that make one of `ARCHITECTURES`."""
    recipe = RECIPES[architecture]
    return {"embed_dim": recipe.dim, "vision_cfg": recipe.vision, "text_cfg": TEXT_TOWER}
