import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from dpmix.errors import DataError, DpmixError, ParamsError
from dpmix.execution import Execution
from dpmix.models import encoders
from dpmix.models.encoders import (
    Encoder,
    fetch_encoder,
    load_encoder,
    save_encoder,
    save_timm_encoder,
    shared_encoder,
    skeleton,
)

pytestmark = pytest.mark.filterwarnings("ignore")
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
PREPROCESS = {"mean": list(MEAN), "std": list(STD), "interpolation": "bicubic", "resize_mode": "shortest"}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1}


def build(vision: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    import open_clip

    import dpmix.models.tiny_convnext  # noqa: F401

    config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": TEXT}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return open_clip.CLIP(**config), config


VISION = {
    "vit": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 16, "layers": 1},
    "convnext": {
        "image_size": 16,
        "timm_model_name": "dpmix_convnext_tiny16",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
    },
}


@pytest.fixture(scope="module", params=sorted(VISION))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, config = build(VISION[request.param])
    out = tmp_path_factory.mktemp("encoders") / request.param
    save_encoder(model, config, PREPROCESS, out)
    return out


@pytest.fixture
def images() -> Tensor:
    return torch.rand(7, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_it_is_open_clips_own_embedding(folder: Path, images: Tensor) -> None:
    """The reference is OpenCLIP itself, asked in its own words."""
    import open_clip

    encoder = load_encoder(folder)
    reference = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).eval()
    with torch.no_grad():
        mean, std = (torch.tensor(each).reshape(1, 3, 1, 1) for each in (MEAN, STD))
        expected = reference.encode_image((images - mean) / std)
    got = encoder(images)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert (encoder.dim, encoder.resolution) == (8, 16)
    assert got.dtype == torch.float32
    assert not got.requires_grad
    assert not got.is_inference()  # so that a head can be trained on it
    assert not torch.allclose(got.norm(dim=1), torch.ones(7), atol=0.05)  # not normalised


def test_the_internal_batch_does_not_matter(folder: Path, images: Tensor) -> None:
    torch.testing.assert_close(load_encoder(folder, batch_size=3)(images), load_encoder(folder)(images))
    assert load_encoder(folder)(images[:0]).shape == (0, 8)


def test_grey_images_and_other_sizes_are_taken(folder: Path, images: Tensor) -> None:
    encoder = load_encoder(folder)
    grey = images[:, :1]
    torch.testing.assert_close(encoder(grey), encoder(grey.expand(-1, 3, -1, -1)))
    large = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    resized = functional.interpolate(large, size=(16, 16), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(encoder(large), encoder(resized))
    with pytest.raises(ValueError, match="expected images"):
        encoder(torch.rand(2, 2, 16, 16))
    with pytest.raises(ValueError, match="expected images"):
        encoder(torch.rand(2, 3, 16, 8))


def test_half_precision_is_close_and_returns_float32(folder: Path, images: Tensor) -> None:
    exact, half = load_encoder(folder)(images), load_encoder(folder, dtype=torch.bfloat16)(images)
    assert half.dtype == torch.float32
    assert not torch.equal(half, exact)
    torch.testing.assert_close(half, exact, rtol=0.1, atol=0.1)
    with pytest.raises(ParamsError, match="not in"):
        load_encoder(folder, dtype=torch.int8)


def test_every_parameter_is_frozen_and_training_mode_is_refused(folder: Path, images: Tensor) -> None:
    encoder = load_encoder(folder)
    assert not any(parameter.requires_grad for parameter in encoder._visual.parameters())
    next(iter(encoder._visual.children())).train()
    with pytest.raises(RuntimeError, match="training mode"):
        encoder(images)


def test_zero_shot_weights_are_normalised_text_embeddings(folder: Path) -> None:
    import open_clip

    encoder = load_encoder(folder)
    weights = encoder.zero_shot_weights(["cat", "dog"], "a drawing of a {}")
    reference = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(["a drawing of a cat", "a drawing of a dog"])
    with torch.no_grad():
        torch.testing.assert_close(weights, reference.encode_text(tokens, normalize=True), rtol=1e-4, atol=1e-5)
    ensemble = encoder.zero_shot_weights(["cat", "dog"], ["a drawing of a {}", "one {}"])
    torch.testing.assert_close(ensemble.norm(dim=1), torch.ones(2))
    assert not torch.allclose(ensemble, weights)
    assert encoder.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)
    with pytest.raises(ParamsError, match="names the class"):
        encoder.zero_shot_weights(["cat"], "a photo")


# What must be refused -----------------------------------------------------------------------------------------------


class Vision(nn.Module):
    """A linear map after whatever `inner` does."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.last = inner, nn.Linear(3 * 8 * 8, 5)

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.last(self.inner(images).flatten(1))
        return output


class Company(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images - images.mean(0)


class Stubborn(nn.BatchNorm2d):
    """A batch norm that does not leave training mode."""

    def train(self, mode: bool = True) -> "Stubborn":
        return super().train(True)  # type: ignore[return-value]


def encoder_with(inner: nn.Module) -> Encoder:
    return Encoder(Vision(inner), resolution=8, mean=MEAN, std=STD, name="this model")


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (lambda: nn.BatchNorm2d(3, track_running_stats=False), "without running statistics"),
        (lambda: Stubborn(3), "in training mode"),
        (Company, "mixes examples"),
    ],
)
def test_networks_that_mix_examples_are_refused(inner: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        encoder_with(inner())
    assert "\n" not in str(caught.value)


def test_batch_norm_in_eval_mode_is_accepted_and_mixes_nothing() -> None:
    encoder = encoder_with(nn.BatchNorm2d(3))
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(encoder(images)[:1], encoder(images[:1]))


# Folders that are not whole -----------------------------------------------------------------------------------------


def copied(folder: Path, out: Path, *names: str) -> Path:
    out.mkdir()
    for name in names:
        (out / name).write_bytes((folder / name).read_bytes())
    return out


def test_weights_that_are_missing_are_never_replaced_by_random_ones(folder: Path, tmp_path: Path) -> None:
    out = copied(folder, tmp_path / "copy", encoders.OPEN_CLIP_CONFIG)
    with pytest.raises(DataError, match=r"open_clip_model\.safetensors does not exist"):
        load_encoder(out)


def test_damaged_folders_are_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no encoder"):
        load_encoder(tmp_path / "absent")
    out = copied(folder, tmp_path / "cut", encoders.OPEN_CLIP_CONFIG, encoders.OPEN_CLIP_WEIGHTS)
    weights = out / encoders.OPEN_CLIP_WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DataError, match="not a whole encoder") as caught:
        load_encoder(out)
    assert "\n" not in str(caught.value)

    other = copied(folder, tmp_path / "other", encoders.OPEN_CLIP_CONFIG, encoders.OPEN_CLIP_WEIGHTS)
    config = json.loads((other / encoders.OPEN_CLIP_CONFIG).read_text())
    config["model_cfg"]["embed_dim"] = 9
    (other / encoders.OPEN_CLIP_CONFIG).write_text(json.dumps(config))
    with pytest.raises(DataError, match="not a whole encoder") as caught:
        load_encoder(other)
    assert "\n" not in str(caught.value)


# How it computes ----------------------------------------------------------------------------------------------------


def test_a_shared_encoder_computes_as_it_is_told(folder: Path, images: Tensor) -> None:
    exact = load_encoder(folder)(images)
    shared = {
        precision: shared_encoder(folder, Execution(device="cpu", encoder_precision=precision))
        for precision in ("auto", "float32", "bfloat16")
    }
    assert torch.equal(shared["auto"](images), exact)
    assert torch.equal(shared["float32"](images), exact)
    half = shared["bfloat16"](images)
    assert not torch.equal(half, exact)
    torch.testing.assert_close(half, load_encoder(folder, dtype=torch.bfloat16)(images))
    assert shared_encoder(folder, Execution(device="cpu", encoder_precision="bfloat16")) is shared["bfloat16"]


def test_half_precision_is_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert [encoders._dtype("auto", device) for device in (cpu, cuda)] == [None, torch.bfloat16]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert [encoders._dtype("auto", device) for device in (cpu, cuda)] == [None, torch.float16]
    for device in (cpu, cuda):
        assert encoders._dtype("float32", device) is None
        assert encoders._dtype("bfloat16", device) == torch.bfloat16


def test_a_network_is_compiled_where_asked_and_on_a_gpu_alone(
    folder: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[nn.Module] = []

    def compiled(module: nn.Module) -> Callable[[Tensor], Tensor]:
        asked.append(module)
        return lambda batch: module(batch) + 1

    monkeypatch.setattr(torch, "compile", compiled)
    plain = load_encoder(folder)(images)
    assert torch.equal(load_encoder(folder, compiled=True)(images), plain)
    assert torch.equal(shared_encoder(folder, Execution(device="cpu", compile_encoder=True))(images), plain)
    assert not asked
    assert torch.equal(encoders._compiled(nn.Identity(), torch.device("cuda"), True)(images), images + 1)
    assert len(asked) == 1
    identity = nn.Identity()
    assert encoders._compiled(identity, torch.device("cuda"), False) is identity


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


def test_a_backbone_of_timm_is_an_encoder_without_text(tmp_path: Path) -> None:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("test_vit", num_classes=0)
    save_timm_encoder(model, tmp_path / "vit")
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

    from dpmix.catalogue import Catalogue
    from dpmix.cli.app import app
    from dpmix.experiment import EncoderModel
    from dpmix.params import parse

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


def test_a_full_disk_is_one_line_and_leaves_no_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("I/O error: No space left on device (os error 28)")  # as safetensors puts it

    model, config = build(VISION["vit"])
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(DpmixError, match=r"cannot write .*/out: No space left on device; free space") as caught:
        save_encoder(model, config, PREPROCESS, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_during_a_download_is_no_missing_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(timm, "create_model", full)
    with pytest.raises(DataError, match=r"no space left for the weights of .*/out; free some and run the same command"):
        fetch_encoder("timm/test_vit", "r160_in1k", tmp_path / "out")


@pytest.mark.parametrize(
    ("architecture", "side", "dim"), [("ViT-B-16", 224, 512), ("timm/test_vit", 160, 64), ("tiny-convnext", 16, 64)]
)
def test_a_skeleton_has_the_shape_of_the_real_one_and_no_memory(architecture: str, side: int, dim: int) -> None:
    model, visual, resolution = skeleton(architecture, torch.device("meta"))
    assert resolution == side
    assert visual(torch.empty(2, 3, side, side, device="meta")).shape == (2, dim)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_another_working_directory_has_other_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same relative path is another folder there."""
    loaded: list[Path] = []
    monkeypatch.setattr(encoders, "load_encoder", lambda directory, **_: loaded.append(directory) or len(loaded))
    found = []
    for name in ("a", "b", "a"):
        (tmp_path / name / "encoder").mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        found.append(encoders.shared_encoder(Path("encoder"), Execution(device="cpu")))
    assert found == [1, 2, 1]
    assert loaded == [tmp_path / "a" / "encoder", tmp_path / "b" / "encoder"]
