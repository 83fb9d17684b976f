"""OpenCLIP's encoders: their names without importing it, and weights that a person puts there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor, nn

from dpmix.models.encoder_files import load_encoder
from dpmix.models.libraries import open_clip as library
from dpmix.models.libraries.open_clip import OPEN_CLIP, save_open_clip
from tests.models.conftest import MEAN, PREPROCESS, STD, VISION, build, fetch, spec

pytestmark = pytest.mark.filterwarnings("ignore")


def test_its_architectures_and_weights_are_those_that_it_lists() -> None:
    assert OPEN_CLIP.architectures() == sorted(open_clip.list_models())
    listed = open_clip.list_pretrained()
    assert len(listed) > 150
    for architecture in open_clip.list_models():
        assert list(OPEN_CLIP.weights(architecture)) == open_clip.list_pretrained_tags_by_model(architecture)
    assert sorted(library._tags()) == sorted({architecture for architecture, _ in listed})


@pytest.mark.parametrize("source", ["_PRETRAINED = read()", "TAGS = {}", "_PRETRAINED = {"])
def test_a_version_that_keeps_them_in_another_way_is_asked_itself(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = library._tags()
    (tmp_path / "pretrained.py").write_text(source)
    monkeypatch.setattr(library, "_package", lambda: tmp_path)
    assert library._tags() == expected


@pytest.fixture
def by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[nn.Module, dict[str, Any]]]:
    """Puts a small model's weights at <out>.safetensors, and gives its architecture and tag a published name."""
    from open_clip import factory, pretrained
    from safetensors.torch import save_file

    def put(**told: Any) -> tuple[nn.Module, dict[str, Any]]:
        model, config = build(VISION["vit"])
        monkeypatch.setitem(factory._MODEL_CONFIGS, "ViT-B-16", config)
        tag = {**pretrained.get_pretrained_cfg("ViT-B-16", "laion2b_s34b_b88k"), "mean": MEAN, "std": STD, **told}
        monkeypatch.setattr(pretrained, "get_pretrained_cfg", lambda *names: tag)
        save_file(model.state_dict(), tmp_path / "out.safetensors")
        return model, config

    return put


def test_weights_put_there_by_hand_are_read(by_hand: Callable[..., Any], tmp_path: Path, images: Tensor) -> None:
    """With the tag's own colours."""
    model, config = by_hand()
    fetch("ViT-B-16", "laion2b_s34b_b88k", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "open_clip_config.json").read_text())["preprocess_cfg"]
    assert tuple(written["mean"]) == MEAN
    save_open_clip(model, config, PREPROCESS, tmp_path / "direct")
    torch.testing.assert_close(load_encoder(tmp_path / "out")(images), load_encoder(tmp_path / "direct")(images))
    assert "ViT-B-16" in open_clip.list_models()


def test_a_folder_says_which_side_it_was_fetched_for(
    by_hand: Callable[..., Any], tmp_path: Path, images: Tensor
) -> None:
    by_hand()
    asked = spec("ViT-B-16", "laion2b_s34b_b88k").model_copy(update={"side": 32})
    asked.library.fetch(asked, tmp_path / "out")
    encoder = load_encoder(tmp_path / "out")
    assert encoder.resolution == 32
    assert encoder(images).shape == (len(images), 8)


@pytest.mark.parametrize("quick", [True, False])
def test_weights_are_run_with_the_activation_that_they_were_trained_with(
    by_hand: Callable[..., Any], tmp_path: Path, images: Tensor, quick: bool
) -> None:
    """The tag alone says it, and the other one is as quiet as it is wrong."""
    model, config = by_hand(quick_gelu=quick)
    fetch("ViT-B-16", "laion2b_s34b_b88k", tmp_path / "out")
    found = load_encoder(tmp_path / "out")(images)
    for one in (True, False):
        save_open_clip(model, {**config, "quick_gelu": one}, PREPROCESS, tmp_path / f"{one}")
    torch.testing.assert_close(found, load_encoder(tmp_path / f"{quick}")(images))
    assert float((found - load_encoder(tmp_path / f"{not quick}")(images)).abs().max()) > 1e-4
