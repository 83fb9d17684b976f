"""Every library answers misspelt names and a missing network; one more is a class and a name."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import yaml

from dpmix.costs.operations import encoder_cost
from dpmix.errors import DataError, ParamsError
from dpmix.models.encoder_files import load_encoder
from dpmix.params import registries
from dpmix.params.registries import encoder_library
from tests.models.conftest import fetch, spec

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("architecture", "weights"),
    [
        ("ViT-B-16", "openai"),
        ("ViT-B-16-quickgelu", "dfn2b"),
        ("timm/resnet18", "a1_in1k"),
        ("tiny-vit", "strokes"),
        ("small-repvgg", "public"),
    ],
)
def test_what_there_is_passes(architecture: str, weights: str) -> None:
    assert timm.is_model("resnet18")
    encoder = spec(architecture, weights)
    encoder.library.check(encoder)


def refused(architecture: str, weights: str) -> str:
    encoder = spec(architecture, weights)
    with pytest.raises(ParamsError) as caught:
        encoder.library.check(encoder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "weights", "kind", "near"),
    [
        ("ViT-B16", "openai", "OpenCLIP model", "ViT-B-16"),
        ("timm/resnet81", "a1_in1k", "timm model", "resnet18"),
        ("small-repvg", "public", "OpenCLIP model", "small-repvgg"),
        ("timmm/resnet18", "a1_in1k", "OpenCLIP model", "timm/resnet18"),
    ],
)
def test_an_architecture_that_there_is_not_is_one_line_with_what_is_near(
    architecture: str, weights: str, kind: str, near: str
) -> None:
    name = architecture.removeprefix("timm/")
    start = f"params.yaml: models.eye.architecture: no {kind} is called {name!r}; the nearest are "
    found = refused(architecture, weights)
    assert found.startswith(start)
    assert near in found.removeprefix(start).removesuffix("; correct it").split(", ")


@pytest.mark.parametrize(
    ("architecture", "weights", "near"),
    [
        ("ViT-B-16", "laion2b_s34b_b88", "laion2b_s34b_b88k"),
        ("timm/resnet18", "a1_in1", "a1_in1k"),
        ("tiny-vit", "openai", "strokes"),
        ("ViT-B-16", "strokes", "openai"),
    ],
)
def test_weights_that_there_are_not_are_one_line_with_what_is_near(architecture: str, weights: str, near: str) -> None:
    start = f"params.yaml: models.eye.weights: {architecture} has no weights called {weights!r}; the nearest are "
    found = refused(architecture, weights)
    assert found.startswith(start)
    assert near in found.removeprefix(start).removesuffix("; correct it")


def test_an_architecture_without_weights_is_not_for_use() -> None:
    assert refused("ViT-M-32", "openai") == (
        "params.yaml: models.eye.weights: ViT-M-32 has no pretrained weights; choose another architecture"
    )


@pytest.mark.parametrize("architecture", ["ViT-B-16", "timm/test_vit", "tiny-vit"])
def test_what_is_misspelt_is_not_fetched(architecture: str, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="has no weights called 'nothing'; the nearest are"):
        fetch(architecture, "nothing", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_dpmix_check_refuses_it_without_loading_torch(tmp_path: Path, repository: Path) -> None:
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    code = "import sys; from dpmix.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    for change, said in (
        ({}, ""),
        ({"architecture": "ViT-B16"}, "architecture: no OpenCLIP model is called 'ViT-B16'"),
        ({"weights": "laion2b"}, "weights: ViT-B-16 has no weights called 'laion2b'"),
    ):
        changed = {**params, "models": {**params["models"], "vit-b-16": {**params["models"]["vit-b-16"], **change}}}
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
        shown = subprocess.run(
            [sys.executable, "-c", code, "check", "--params", "own.yaml"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert shown.returncode == bool(said), shown.stderr
        if said:
            assert shown.stderr.startswith(f"error: own.yaml: models.vit-b-16.{said}")
            assert shown.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("architecture", "pretrained", "repository"),
    [
        ("ViT-B-16", "laion2b_s34b_b88k", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"),
        ("convnext_base_w", "laion2b_s13b_b82k", "laion/CLIP-convnext_base_w-laion2B-s13B-b82K"),
        ("timm/test_vit", "r160_in1k", "timm/test_vit.r160_in1k"),
    ],
)
def test_without_network_it_says_which_file_to_put_where(
    architecture: str, pretrained: str, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: Any, **options: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(DataError, match=repository) as caught:
        fetch(architecture, pretrained, tmp_path / "out")
    assert str(tmp_path / "out.safetensors") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("architecture", "side", "dim"), [("ViT-B-16", 224, 512), ("timm/test_vit", 160, 64), ("tiny-convnext", 16, 64)]
)
def test_a_skeleton_has_the_shape_of_the_real_one_and_no_memory(architecture: str, side: int, dim: int) -> None:
    model, visual, resolution = encoder_library(architecture).skeleton(architecture, torch.device("meta"))
    assert resolution == side
    assert visual(torch.empty(2, 3, side, side, device="meta")).shape == (2, dim)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_one_more_library_is_a_class_and_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked, counted, fetched, found by the workflow and read: nobody else need know of it."""
    from safetensors.torch import save_file

    from dpmix.artefacts.data import EncoderModel

    added = {"torchvision": "tests.models.libraries.added:TORCHVISION", **registries.ENCODER_LIBRARIES}
    monkeypatch.setattr(registries, "ENCODER_LIBRARIES", added)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match=r"no torchvision model is called 'resnet81'; the nearest are .*resnet18"):
        spec("torchvision/resnet81").library.check(spec("torchvision/resnet81"))
    small = spec("torchvision/shufflenet_v2_x0_5", "IMAGENET1K_V1")
    assert not small.library.has_text
    assert encoder_cost(small.architecture).forward / 2e9 == pytest.approx(0.04, abs=0.002)  # torchvision's GFLOPS
    file = EncoderModel(encoder=small).path("demo")
    assert file.name == "torchvision.json"
    model = torchvision.models.get_model("shufflenet_v2_x0_5", weights=None).eval()
    file.parent.parent.mkdir(parents=True)
    save_file(model.state_dict(), f"{file.parent}.safetensors")
    small.library.fetch(small, file.parent)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model((images - 0.5) / 0.25)
    torch.testing.assert_close(load_encoder(file.parent)(images), expected, rtol=1e-4, atol=1e-5)
