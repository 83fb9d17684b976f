"""Encoders on disk: read as they were saved, and a line for each that is damaged."""

import json
from pathlib import Path

import pytest
import torch

from dpmix.errors import DataError, DpmixError, ParamsError
from dpmix.execution import Execution
from dpmix.models import encoder_files
from dpmix.models.encoder_files import load_encoder
from dpmix.models.libraries.open_clip import OpenClip, save_open_clip
from dpmix.models.libraries.timm import save_timm
from tests.models.conftest import PREPROCESS, VISION, build

pytestmark = pytest.mark.filterwarnings("ignore")


# Folders that are not whole -----------------------------------------------------------------------------------------
def copied(folder: Path, out: Path, *names: str) -> Path:
    out.mkdir()
    for name in names:
        (out / name).write_bytes((folder / name).read_bytes())
    return out


def test_weights_that_are_missing_are_never_replaced_by_random_ones(folder: Path, tmp_path: Path) -> None:
    out = copied(folder, tmp_path / "copy", OpenClip.config_file)
    with pytest.raises(DataError, match=r"open_clip_model\.safetensors does not exist"):
        load_encoder(out)


def test_damaged_folders_are_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no encoder"):
        load_encoder(tmp_path / "absent")
    out = copied(folder, tmp_path / "cut", OpenClip.config_file, OpenClip.weights_file)
    weights = out / OpenClip.weights_file
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DataError, match="not a whole encoder") as caught:
        load_encoder(out)
    assert "\n" not in str(caught.value)

    other = copied(folder, tmp_path / "other", OpenClip.config_file, OpenClip.weights_file)
    config = json.loads((other / OpenClip.config_file).read_text())
    config["model_cfg"]["embed_dim"] = 9
    (other / OpenClip.config_file).write_text(json.dumps(config))
    with pytest.raises(DataError, match="not a whole encoder") as caught:
        load_encoder(other)
    assert "\n" not in str(caught.value)


def test_a_backbone_of_timm_is_an_encoder_without_text(tmp_path: Path) -> None:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("test_vit", num_classes=0)
    save_timm(model, tmp_path / "vit")
    encoder = load_encoder(tmp_path / "vit")
    images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    data = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(data[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = model.eval()((images - mean) / std)
    torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)
    assert encoder.resolution == 160
    with pytest.raises(ParamsError, match="no text tower"):
        encoder.zero_shot_weights(["cat"])
    (tmp_path / "vit" / "model.safetensors").unlink()
    with pytest.raises(DataError, match="does not exist"):
        load_encoder(tmp_path / "vit")


def test_a_full_disk_is_one_line_and_leaves_no_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("I/O error: No space left on device (os error 28)")  # as safetensors puts it

    model, config = build(VISION["vit"])
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(DpmixError, match=r"cannot write .*/out: No space left on device; free space") as caught:
        save_open_clip(model, config, PREPROCESS, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_another_working_directory_has_other_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same relative path is another folder there."""
    loaded: list[Path] = []
    monkeypatch.setattr(encoder_files, "load_encoder", lambda directory, **_: loaded.append(directory) or len(loaded))
    found = []
    for name in ("a", "b", "a"):
        (tmp_path / name / "encoder").mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        found.append(encoder_files.shared_encoder(Path("encoder"), Execution(device="cpu")))
    assert found == [1, 2, 1]
    assert loaded == [tmp_path / "a" / "encoder", tmp_path / "b" / "encoder"]


# The side that an encoder sees ---------------------------------------------------------------------------------------
def test_an_encoder_sees_another_side(folder: Path) -> None:
    """Images of that side are not resized, others are; a transformer's position embeddings are interpolated."""
    own, larger = load_encoder(folder), load_encoder(folder, side=32)
    assert (own.resolution, larger.resolution, larger.dim) == (16, 32, own.dim)
    fine = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = []
    larger._visual.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-1]))
    found = larger(fine)
    assert seen == [32]
    assert float((found - own(fine)).abs().max()) > 1e-4
    coarse = torch.nn.functional.interpolate(fine, size=(16, 16), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(own(fine), own(coarse), rtol=1e-4, atol=1e-5)


def test_a_vision_transformer_of_timm_sees_another_side(tmp_path: Path) -> None:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("test_vit", num_classes=0)
    save_timm(model, tmp_path / "vit")
    encoder = load_encoder(tmp_path / "vit", side=96)
    assert (encoder.resolution, encoder.dim) == (96, 64)
    with pytest.raises(ParamsError, match=r"vit cannot see images of 90 pixels \(.*\); give another side") as caught:
        load_encoder(tmp_path / "vit", side=90)
    assert "\n" not in str(caught.value)
    (tmp_path / "vit" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"model\.safetensors was damaged or changed"):
        load_encoder(tmp_path / "vit", side=90)
    (tmp_path / "vit" / "digests.json").unlink()  # as somebody else's folder has none
    with pytest.raises(DataError, match="not a whole encoder"):
        load_encoder(tmp_path / "vit", side=90)
