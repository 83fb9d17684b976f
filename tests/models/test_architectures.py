"""A misspelt architecture is refused by `dpmix check`, which loads no torch for it."""

import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import timm
import yaml

from dpmix.errors import ParamsError
from dpmix.models.architectures import TRAINED_HERE, check_architecture, open_clip_models
from dpmix.models.small_encoders import ARCHITECTURES
from dpmix.params.models import EncoderSpec


def encoder(architecture: str, weights: str = "openai") -> EncoderSpec:
    images = "public.zip" if weights == "public" else None
    return EncoderSpec(
        kind="encoder",
        name="eye",
        label="Eye",
        architecture=architecture,
        weights=weights,
        resolution=32,
        images=images,
    )


def test_the_names_are_those_of_the_libraries() -> None:
    assert open_clip_models() == sorted(open_clip.list_models())
    assert set(TRAINED_HERE) == set(ARCHITECTURES)


@pytest.mark.parametrize(
    ("architecture", "weights"),
    [("ViT-B-16", "openai"), ("timm/resnet18", "a1_in1k"), ("tiny-vit", "strokes"), ("small-repvgg", "public")],
)
def test_what_there_is_passes(architecture: str, weights: str) -> None:
    assert timm.is_model("resnet18")
    check_architecture(encoder(architecture, weights))


@pytest.mark.parametrize(
    ("architecture", "weights", "kind", "near"),
    [
        ("ViT-B16", "openai", "OpenCLIP model", "ViT-B-16"),
        ("tiny-vit", "openai", "OpenCLIP model", "ViTamin-S"),
        ("timm/resnet81", "a1_in1k", "timm model", "resnet18"),
        ("ViT-B-16", "strokes", "encoder that is trained here", "tiny-vit"),
        ("small-repvg", "public", "encoder that is trained here", "small-repvgg"),
    ],
)
def test_what_there_is_not_is_one_line_with_what_is_near(architecture: str, weights: str, kind: str, near: str) -> None:
    with pytest.raises(ParamsError) as caught:
        check_architecture(encoder(architecture, weights))
    name = architecture.removeprefix("timm/")
    start = f"params.yaml: models.eye.architecture: no {kind} is called {name!r}; the nearest are "
    assert str(caught.value).startswith(start)
    assert near in str(caught.value).removeprefix(start).removesuffix("; correct it").split(", ")


def test_dpmix_check_refuses_it_without_loading_torch(tmp_path: Path, repository: Path) -> None:
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    code = "import sys; from dpmix.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    for name, status in (("ViT-B-16", 0), ("ViT-B16", 1)):
        params["models"]["vit-b-16"]["architecture"] = name
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        shown = subprocess.run(
            [sys.executable, "-c", code, "check", "--params", "own.yaml"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert shown.returncode == status, shown.stderr
    assert shown.stderr.startswith(
        "error: own.yaml: models.vit-b-16.architecture: no OpenCLIP model is called 'ViT-B16'"
    )
    assert shown.stderr.count("\n") == 1
