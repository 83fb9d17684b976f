"""OpenCLIP's encoders: their names without importing it, and weights that a person puts there."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor

from dpmix.models.encoder_files import load_encoder
from dpmix.models.libraries import open_clip as library
from dpmix.models.libraries.open_clip import OPEN_CLIP, save_open_clip
from tests.models.conftest import MEAN, PREPROCESS, STD, VISION, build, fetch

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


def test_weights_put_there_by_hand_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Tensor) -> None:
    """A small model under a published name: what lies at <out>.safetensors is taken, with the tag's own colours."""
    from open_clip import factory, pretrained
    from safetensors.torch import save_file

    model, config = build(VISION["vit"])
    monkeypatch.setitem(factory._MODEL_CONFIGS, "ViT-B-16", config)
    tag = {**pretrained.get_pretrained_cfg("ViT-B-16", "laion2b_s34b_b88k"), "mean": MEAN, "std": STD}
    monkeypatch.setattr(pretrained, "get_pretrained_cfg", lambda *names: tag)
    save_file(model.state_dict(), tmp_path / "out.safetensors")
    fetch("ViT-B-16", "laion2b_s34b_b88k", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "open_clip_config.json").read_text())["preprocess_cfg"]
    assert tuple(written["mean"]) == MEAN
    save_open_clip(model, config, PREPROCESS, tmp_path / "direct")
    torch.testing.assert_close(load_encoder(tmp_path / "out")(images), load_encoder(tmp_path / "direct")(images))
    assert "ViT-B-16" in open_clip.list_models()
