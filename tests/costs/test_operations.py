"""Operations against what others publish, and against layers counted by hand."""

from typing import Any

import pytest

from dpmix.costs import operations
from dpmix.costs.operations import (
    TOWERS,
    counted_tower,
    drawing_flops,
    encoder_cost,
    encoder_parameters,
    network_cost,
    tower,
)
from dpmix.errors import ParamsError
from dpmix.params.models import WideResNetSpec
from dpmix.params.specs import DiffusionSpec

NETWORK = WideResNetSpec(
    kind="wide-resnet", name="net", label="Net", depth=10, width=1, groups=2, base_channels=4, stem_stride=2,
    resolution=16,
)  # fmt: skip


# Operations -----------------------------------------------------------------------------------------------------------
def test_operations_of_a_small_network_by_hand() -> None:
    stem = 2 * 3 * 9 * 4 * 64  # 2 x inputs x 3 x 3 x outputs x 8 x 8 pixels
    first = 2 * (2 * 4 * 9 * 4 * 64)
    second = (2 * 4 * 9 * 8 + 2 * 8 * 9 * 8 + 2 * 4 * 8) * 16
    third = (2 * 8 * 9 * 16 + 2 * 16 * 9 * 16 + 2 * 8 * 16) * 4
    head = 2 * 16 * 10
    cost = network_cost(NETWORK, 3, 10)
    assert cost.forward == stem + first + second + third + head
    # Backward repeats each twice, but for the gradient of the pixels.
    assert cost.training == 3 * cost.forward - stem


@pytest.mark.parametrize(
    ("architecture", "gflop", "million"), [("ViT-B-16", 35.13, 149.62), ("convnext_base_w", 40.11, 179.39)]
)
def test_encoders_cost_what_openclip_publishes(architecture: str, gflop: float, million: float) -> None:
    """OpenCLIP's docs/model_profile.csv."""
    assert encoder_cost(architecture).forward / 1e9 == pytest.approx(gflop, abs=0.005)
    assert encoder_parameters(architecture) / 1e6 == pytest.approx(million, abs=0.005)


@pytest.mark.parametrize("architecture", TOWERS)
def test_what_is_written_down_of_an_encoder_is_what_is_counted(architecture: str) -> None:
    assert counted_tower(architecture) == TOWERS[architecture] == tower(architecture)


def test_encoders_of_timm_and_of_the_demo_are_counted() -> None:
    assert encoder_cost("timm/test_vit").forward > encoder_cost("tiny-vit").forward > 1e5
    with pytest.raises(ParamsError, match="no OpenCLIP model is called 'ViT-B-17'; the nearest are"):
        encoder_cost("ViT-B-17")


@pytest.mark.slow
def test_an_encoder_in_a_folder_costs_what_its_format_says() -> None:
    held = "timm/tf_efficientnet_lite0"
    assert encoder_cost(f"folder/{held}", 96) == encoder_cost(held, 96)
    assert encoder_parameters(f"folder/{held}") == encoder_parameters(held) > 3e6


def test_the_operations_of_stable_diffusion_are_those_of_its_classes() -> None:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        decoder = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
        latents, time, caption = torch.empty(1, 4, 64, 64), torch.empty(()), torch.empty(1, 77, 768)
    counted = operations.DIFFUSION["CompVis/stable-diffusion-v1-4"]
    assert operations._count(lambda: unet(latents, time, caption)) == pytest.approx(counted.step, rel=1e-3)
    assert operations._count(lambda: decoder.decode(latents)) + 175e9 == pytest.approx(counted.once, rel=1e-3)
    here = sum(parameter.numel() for model in (unet, decoder) for parameter in model.parameters())
    assert here + 123e6 + 304e6 == pytest.approx(counted.parameters, rel=1e-3)


def test_guidance_doubles_the_steps_and_an_unknown_model_is_not_guessed() -> None:
    def spec(**changes: Any) -> DiffusionSpec:
        settings = {"name": "sd", "model": "CompVis/stable-diffusion-v1-4", "guidance_scale": 1.0, "steps": 10}
        return DiffusionSpec(**{**settings, "resolution": 512, "scheduler": "DDIMScheduler", **changes})

    plain, guided = drawing_flops(spec()), drawing_flops(spec(guidance_scale=7.5))
    assert plain is not None
    assert guided is not None
    assert guided - plain == pytest.approx(10 * 803e9)
    assert drawing_flops(spec(model="someone/brush")) is None
    once = 2515e9 + 13e9 + 162e9
    assert plain == pytest.approx(10 * 803e9 + once)
    # A quarter of the pixels at half the side.
    assert drawing_flops(spec(resolution=256)) == pytest.approx(plain / 4)
