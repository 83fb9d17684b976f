"""timm's backbones: fetched, put there by hand, or answered with what to do."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dpmix.errors import DataError
from dpmix.models.encoder_files import load_encoder
from tests.models.conftest import fetch

pytestmark = pytest.mark.filterwarnings("ignore")


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
        fetch("timm/test_vit", "r160_in1k", tmp_path / "out")
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
    fetch("timm/test_vit", "r160_in1k", tmp_path / "out")
    assert len(attempts) == 3
    monkeypatch.undo()
    assert load_encoder(tmp_path / "out").dim == 64


def test_a_full_disk_during_a_download_is_no_missing_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(timm, "create_model", full)
    with pytest.raises(DataError, match=r"no space left for the weights of .*/out; free some and run the same command"):
        fetch("timm/test_vit", "r160_in1k", tmp_path / "out")
