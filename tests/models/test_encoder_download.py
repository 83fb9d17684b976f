"""Encoders by name: fetched, put there by hand, or answered with what to do."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dpmix.errors import DataError, ParamsError
from dpmix.models.encoder_download import fetch_encoder
from dpmix.models.encoder_files import load_encoder, save_encoder
from tests.models.conftest import MEAN, PREPROCESS, STD, VISION, build

pytestmark = pytest.mark.filterwarnings("ignore")


# Fetching -----------------------------------------------------------------------------------------------------------
def test_names_that_do_not_exist_are_answered_with_near_ones(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"'ViT-B16'; the nearest are .*ViT-B-16.*; correct params\.yaml"):
        fetch_encoder("ViT-B16", "laion2b_s34b_b88k", tmp_path / "out")
    with pytest.raises(ParamsError, match=r"the nearest are .*laion2b_s34b_b88k"):
        fetch_encoder("ViT-B-16", "laion2b", tmp_path / "out")
    with pytest.raises(ParamsError, match="test_vit"):
        fetch_encoder("timm/test_vitt", "r160_in1k", tmp_path / "out")
    with pytest.raises(ParamsError, match=r"test_vit\.r160_in1k"):
        fetch_encoder("timm/test_vit", "r160", tmp_path / "out")


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

    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", offline)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", offline)
    with pytest.raises(DataError, match=repository) as caught:
        fetch_encoder(architecture, pretrained, tmp_path / "out")
    assert str(tmp_path / "out.safetensors") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_weights_put_there_by_hand_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Tensor) -> None:
    """A small model under a published name: what lies at <out>.safetensors is taken, with the tag's own colours."""
    import open_clip
    from open_clip import factory, pretrained
    from safetensors.torch import save_file

    model, config = build(VISION["vit"])
    monkeypatch.setitem(factory._MODEL_CONFIGS, "ViT-B-16", config)
    tag = {**pretrained.get_pretrained_cfg("ViT-B-16", "laion2b_s34b_b88k"), "mean": MEAN, "std": STD}
    monkeypatch.setattr(pretrained, "get_pretrained_cfg", lambda *names: tag)
    save_file(model.state_dict(), tmp_path / "out.safetensors")
    fetch_encoder("ViT-B-16", "laion2b_s34b_b88k", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "open_clip_config.json").read_text())["preprocess_cfg"]
    assert tuple(written["mean"]) == MEAN
    save_encoder(model, config, PREPROCESS, tmp_path / "direct")
    torch.testing.assert_close(load_encoder(tmp_path / "out")(images), load_encoder(tmp_path / "direct")(images))
    assert "ViT-B-16" in open_clip.list_models()


def backbone(seed: int = 0) -> nn.Module:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model("test_vit", num_classes=0).eval()
    return model


def test_a_backbone_of_timm_by_params_is_fetched_and_read_without_network(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its name in params.yaml to embeddings, with random weights put where a download would have put them."""
    import socket

    import yaml
    from safetensors.torch import save_file
    from typer.testing import CliRunner

    from dpmix.artefacts.data import EncoderModel
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.cli.app import app
    from dpmix.params.read import parse

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    params["models"]["tiny-vit"] |= {"architecture": "timm/test_vit", "weights": "r160_in1k", "resolution": 160}
    Path("params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")
    wanted = [one for one in Catalogue(parse(params), "demo").of(EncoderModel) if isinstance(one, EncoderModel)]
    path = next(one.path("demo") for one in wanted if one.encoder.name == "tiny-vit")
    assert path.name == "config.json"

    model = backbone()
    by_hand = path.parent.with_name(path.parent.name + ".safetensors")
    by_hand.parent.mkdir(parents=True)
    save_file(model.state_dict(), by_hand)
    shown = CliRunner().invoke(app, ["step", "encoder", path.as_posix()])
    assert shown.exit_code == 0, shown.output
    assert path.is_file()
    by_hand.unlink()
    encoder = load_encoder(path.parent)
    images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), model((images - 0.5) / 0.5), rtol=1e-4, atol=1e-5)
    assert (encoder.dim, encoder.resolution) == (64, 160)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"nothing": torch.zeros(1)}, tmp_path / "out.safetensors")
    with pytest.raises(DataError, match=r"out\.safetensors does not hold the weights of .*; fetch the file again"):
        fetch_encoder("timm/test_vit", "r160_in1k", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_download_that_breaks_off_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    create, attempts = timm.create_model, []

    def flaky(*arguments: Any, **options: Any) -> nn.Module:
        attempts.append(1)
        if len(attempts) < 3:
            raise RuntimeError("cannot load") from ConnectionResetError("reset")
        model: nn.Module = create("test_vit", num_classes=0)
        return model

    monkeypatch.setattr(timm, "create_model", flaky)
    fetch_encoder("timm/test_vit", "r160_in1k", tmp_path / "out")
    assert len(attempts) == 3
    monkeypatch.undo()
    assert load_encoder(tmp_path / "out").dim == 64


def test_a_full_disk_during_a_download_is_no_missing_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(timm, "create_model", full)
    with pytest.raises(DataError, match=r"no space left for the weights of .*/out; free some and run the same command"):
        fetch_encoder("timm/test_vit", "r160_in1k", tmp_path / "out")
