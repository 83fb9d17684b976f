"""The way to an encoder's weights without a network, followed word by word with the hub's own command."""

import json
import re
import shlex
import subprocess
import sysconfig
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from dpmix.errors import DataError
from dpmix.execution import Execution
from dpmix.models.encoder_files import load_encoder
from dpmix.own.choices.encoders import encoder, encoder_folder
from rehearsal.hub import Repository, hub_serving
from rehearsal.weights import seeded
from tests.rehearsal.test_hub import environment

REPOSITORY = "timm/test_vit.r160_in1k"


def test_an_encoder_that_the_hubs_command_brought_by_hand_is_the_one_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        encoder_folder(encoder("timm/test_vit/r160_in1k"), "own", Execution(device="cpu"))
    ((command, named),) = re.findall(r"run: hf (.+?), copy .+ name it: `encoder='(\w+)'`", str(caught.value))

    model = seeded(lambda: timm.create_model("test_vit"))
    save_file(model.state_dict(), tmp_path / "weights")
    config = {"architecture": "test_vit", "num_classes": 1000, "pretrained_cfg": model.pretrained_cfg}
    files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": tmp_path / "weights",
        "pytorch_model.bin": b"a pickle",
    }
    hub_command = Path(sysconfig.get_path("scripts")) / "hf"
    with hub_serving() as hub:
        hub.repositories[REPOSITORY] = Repository(files, "a" * 40)
        subprocess.run([hub_command, *shlex.split(command)], env=environment(hub, tmp_path / "home"), check=True)

    spec = encoder(named)
    side = model.pretrained_cfg["input_size"][-1]
    assert (spec.architecture, spec.resolution) == ("folder/timm/test_vit", side)
    images = torch.rand(2, 3, side, side)
    mean, std = (torch.tensor(model.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        wanted = model.eval().forward_head(model.forward_features((images - mean) / std), pre_logits=True)
    torch.testing.assert_close(load_encoder(encoder_folder(spec, "own", Execution(device="cpu")))(images), wanted)
