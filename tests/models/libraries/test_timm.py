"""timm's backbones: fetched, put there by hand, or answered with what to do."""

from pathlib import Path

import pytest
import torch

from dpmix import network
from dpmix.errors import DataError
from dpmix.models.encoder_files import load_encoder
from tests.models.conftest import backbone, fetch

pytestmark = pytest.mark.filterwarnings("ignore")


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
        fetch("timm/test_vit", "r160_in1k", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("weights", ["r160_in1k", "augreg_in21k"])
def test_weights_come_from_the_hub_or_by_hand(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that timm reads by a function of its own where they are in their publisher's format."""
    import timm
    from safetensors.torch import save_file

    architecture = {"r160_in1k": "test_vit", "augreg_in21k": "vit_tiny_patch16_224"}[weights]
    assert bool(timm.get_pretrained_cfg(f"{architecture}.{weights}").custom_load) == (weights == "augreg_in21k")
    model = timm.create_model(architecture, num_classes=0)
    save_file(model.state_dict(), tmp_path / "put.safetensors")
    save_file(model.state_dict(), tmp_path / "given.safetensors")
    asked = []

    def given(repository: str, name: str) -> str:
        asked.append((repository, name))
        if len(asked) == 1:
            raise ConnectionResetError("reset")
        return str(tmp_path / "given.safetensors")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", given)
    monkeypatch.setattr(network, "PAUSES", (0.0,))
    for out in ("fetched", "put"):
        fetch(f"timm/{architecture}", weights, tmp_path / out)
        assert load_encoder(tmp_path / out).dim == model.num_features
    assert asked == 2 * [(f"timm/{architecture}.{weights}", "model.safetensors")]


def test_a_full_disk_during_a_download_is_no_missing_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    with pytest.raises(DataError, match=r"no space left for the weights of .*/out; free some and run the same command"):
        fetch("timm/test_vit", "r160_in1k", tmp_path / "out")
