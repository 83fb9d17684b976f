"""Zero-shot accuracy against OpenCLIP's own classifier, on an encoder with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dpmix import zero_shot
from dpmix.errors import DpmixError, ParamsError
from dpmix.experiment import EncoderModel, ZeroShot
from dpmix.files import read_json, write_json
from dpmix.models.encoders import save_encoder, save_timm_encoder
from dpmix.params import DatasetSpec, EncoderSpec

TEST = 60
DATASET = DatasetSpec(name="shapes", label="Shapes", source="folder", path="raw", classes=3, train=9, test=TEST)
CLASSES = ("BigSquare", "round_thing", "7")
SPOKEN = ("big square", "round thing", "7")
COLOURS = {"mean": [0.4] * 3, "std": [0.3] * 3}
CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 16, "layers": 1},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


def wanted(architecture: str = "tiny", prompts: tuple[str, ...] = ("a photo of a {}",)) -> ZeroShot:
    spec = EncoderSpec(
        kind="encoder", name="eye", label="Eye", architecture=architecture, weights="none", resolution=16
    )  # fmt: skip
    return ZeroShot(dataset=DATASET, model=spec, prompts=prompts)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """A store of noise in the current folder; there is no training split to look at."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (TEST, 3, 16, 16)).astype(np.uint8)
    labels = random.integers(0, 3, TEST)
    folder = wanted().images().path("demo").parent
    folder.mkdir(parents=True)
    np.save(folder / "test_images.npy", images)
    np.save(folder / "test_labels.npy", labels)
    write_json(
        folder / "meta.json", {"classes": list(CLASSES), "resolution": 16, "channels": 3, "sizes": {"test": TEST}}
    )
    return images, labels


@pytest.mark.parametrize("prompts", [("a photo of a {}",), ("a photo of a {}", "a drawing of the {}, in ink")])
def test_the_accuracy_is_that_of_openclips_own_classifier(
    store: tuple[np.ndarray, np.ndarray], prompts: tuple[str, ...]
) -> None:
    import open_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(**CONFIG).eval()  # type: ignore[arg-type]
    one = wanted(prompts=prompts)
    save_encoder(model, CONFIG, COLOURS, EncoderModel(encoder=one.model).path("demo").parent)
    zero_shot.measure([one], "demo", "cpu")

    images, labels = store
    pixels = (torch.from_numpy(images).float() / 255 - 0.4) / 0.3
    tokenizer = open_clip.SimpleTokenizer(context_length=16)
    with torch.no_grad():
        weights = open_clip.build_zero_shot_classifier(
            model, tokenizer, SPOKEN, [lambda name, prompt=prompt: prompt.format(name) for prompt in prompts]
        )
        predictions = (model.encode_image(pixels, normalize=True) @ weights).argmax(dim=1).numpy()
    assert len(set(predictions)) > 1
    record = read_json(one.path("demo"))
    assert record["accuracy"] == pytest.approx(100 * (predictions == labels).mean(), abs=1e-5)
    assert record["prompts"] == list(prompts)
    assert record["epsilon"] == {}


def test_what_is_missing_is_one_line() -> None:
    with pytest.raises(DpmixError, match="holds no encoder"):
        zero_shot.measure([wanted()], "demo", "cpu")
    assert not wanted().path("demo").exists()


def test_a_backbone_without_text_is_one_line() -> None:
    import timm

    one = wanted("timm/test_vit")
    save_timm_encoder(timm.create_model("test_vit", num_classes=0), EncoderModel(encoder=one.model).path("demo").parent)
    with pytest.raises(ParamsError, match="no text tower, hence no zero-shot classifier; use an OpenCLIP model"):
        zero_shot.measure([one], "demo", "cpu")
    assert not one.path("demo").exists()
