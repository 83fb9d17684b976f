"""An encoder gives OpenCLIP's own embeddings, each of its own image alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from dpmix.errors import DataError, ParamsError
from dpmix.execution import Execution
from dpmix.models import encoder as models_encoder
from dpmix.models import encoder_files
from dpmix.models.encoder import Encoder
from dpmix.models.encoder_files import load_encoder, shared_encoder
from tests.models.conftest import MEAN, STD

pytestmark = pytest.mark.filterwarnings("ignore")


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


@pytest.mark.parametrize("side", [9, 40])
def test_resizing_is_a_matrix(folder: Path, side: int) -> None:
    """As torch resizes images, to a smaller and to a larger side."""
    encoder = load_encoder(folder)
    matrix = encoder.resizing(side)
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    size = (encoder.resolution, encoder.resolution)
    expected = functional.interpolate(images, size=size, mode="bicubic", align_corners=False, antialias=True)
    assert (matrix @ images @ matrix.T - expected).abs().max() < 1e-5
    assert encoder.normalization == (list(MEAN), list(STD))
    mean, std = (torch.tensor(one).reshape(1, 3, 1, 1) for one in encoder.normalization)
    assert torch.allclose(encoder.visual((expected.clamp(0, 1) - mean) / std), encoder(images), atol=1e-5)


def test_half_precision_is_close_and_returns_float32(folder: Path, images: Tensor) -> None:
    exact, half = load_encoder(folder)(images), load_encoder(folder, dtype=torch.bfloat16)(images)
    assert half.dtype == torch.float32
    assert not torch.equal(half, exact)
    torch.testing.assert_close(half, exact, rtol=0.1, atol=0.1)
    with pytest.raises(ParamsError, match=r"does not compute in torch\.int8; give float32"):
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
    with pytest.raises(ParamsError, match=r"write \{\} where the name goes"):
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
    assert [encoder_files._dtype("auto", device) for device in (cpu, cuda)] == [None, torch.bfloat16]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert [encoder_files._dtype("auto", device) for device in (cpu, cuda)] == [None, torch.float16]
    for device in (cpu, cuda):
        assert encoder_files._dtype("float32", device) is None
        assert encoder_files._dtype("bfloat16", device) == torch.bfloat16


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
    assert torch.equal(models_encoder._compiled(nn.Identity(), torch.device("cuda"), True)(images), images + 1)
    assert len(asked) == 1
    identity = nn.Identity()
    assert models_encoder._compiled(identity, torch.device("cuda"), False) is identity
