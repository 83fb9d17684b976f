"""The way to an encoder's weights without a network, followed word by word with the hub's own command."""

import json
import re
import shlex
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file

from dpmix.errors import DataError
from dpmix.execution import Execution
from dpmix.models.encoder_files import load_encoder
from dpmix.own.choices.encoders import encoder, encoder_folder
from rehearsal.hub import Repository, hub_serving
from rehearsal.weights import PICKLE, seeded
from tests.rehearsal.test_hub import environment

CPU = Execution(device="cpu")

# The smallest of OpenCLIP's that the hub has, in 16 bits: 150 MB.
SMALLEST, TAG, OF_SMALLEST = "MobileCLIP2-S0", "dfndr2b", "timm/MobileCLIP2-S0-OpenCLIP"


@pytest.fixture(autouse=True)
def _without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def refused(name: str) -> str:
    """The line that refuses an encoder whose weights cannot be had."""
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        encoder_folder(encoder(name), "own", CPU)
    return str(caught.value)


def brought_by_hand(line: str, repository: str, files: Mapping[str, bytes | Path], home: Path) -> str:
    """What to name the encoder, after the line's command was followed with a hub that has such a repository."""
    ((command, named),) = re.findall(r"run: hf (.+?), copy .+ name it: `encoder='(\w+)'`", line)
    hub_command = Path(sysconfig.get_path("scripts")) / "hf"
    with hub_serving() as hub:
        hub.repositories[repository] = Repository(files, "a" * 40)
        subprocess.run([hub_command, *shlex.split(command)], env=environment(hub, home), check=True)
    return str(named)


def normalised(images: torch.Tensor, config: Mapping[str, Any]) -> torch.Tensor:
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    return (images - mean) / std


def test_an_encoder_of_timms_that_the_hubs_command_brought_by_hand_is_the_one_that_was_asked_for(
    tmp_path: Path,
) -> None:
    line = refused("timm/test_vit/r160_in1k")
    model = seeded(lambda: timm.create_model("test_vit"))
    save_file(model.state_dict(), tmp_path / "weights")
    config = {"architecture": "test_vit", "num_classes": 1000, "pretrained_cfg": model.pretrained_cfg}
    files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": tmp_path / "weights",
        "pytorch_model.bin": PICKLE,
    }
    spec = encoder(brought_by_hand(line, "timm/test_vit.r160_in1k", files, tmp_path / "home"))
    side = model.pretrained_cfg["input_size"][-1]
    assert (spec.architecture, spec.resolution) == ("folder/timm/test_vit", side)
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        features = model.eval().forward_features(normalised(images, model.pretrained_cfg))
        wanted = model.forward_head(features, pre_logits=True)
    torch.testing.assert_close(load_encoder(encoder_folder(spec, "own", CPU))(images), wanted)


def test_an_encoder_of_open_clips_that_the_hubs_command_brought_by_hand_is_the_one_that_was_asked_for(
    tmp_path: Path,
) -> None:
    line = refused(f"{SMALLEST}/{TAG}")
    model = seeded(lambda: open_clip.create_model(SMALLEST, load_weights=False, pretrained_text=False)).half().float()
    save_file({name: one.half().contiguous() for name, one in model.state_dict().items()}, tmp_path / "weights")
    # Colours that are not OpenCLIP's own: what the repository says of them counts.
    colours = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    config = {"model_cfg": open_clip.get_model_config(SMALLEST), "preprocess_cfg": colours}
    files = {
        "open_clip_config.json": json.dumps(config).encode(),
        "open_clip_model.safetensors": tmp_path / "weights",
        "open_clip_pytorch_model.bin": PICKLE,
    }
    spec = encoder(brought_by_hand(line, OF_SMALLEST, files, tmp_path / "home"))
    side = model.visual.image_size[0]
    assert (spec.architecture, spec.resolution) == (f"folder/{SMALLEST}", side)
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        wanted = model.eval().encode_image(normalised(images, colours))
    torch.testing.assert_close(load_encoder(encoder_folder(spec, "own", CPU))(images), wanted)


def test_no_folder_is_to_be_made_of_a_file_that_is_in_no_librarys_format() -> None:
    # OpenCLIP's tag names one file, and its repository need not have what a folder is read from.
    line = refused("ViTamin-S/datacomp1b")
    assert "hf download" not in line
    assert line.endswith("; leave out `encoder`, for the one that comes with dpmix")
