"""Zero-shot accuracy against OpenCLIP's own classifier, on an encoder with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dpmix.artefacts.data import EncoderModel
from dpmix.artefacts.measurements import ZeroShot
from dpmix.errors import DpmixError, ParamsError
from dpmix.evaluation import zero_shot
from dpmix.execution import Execution
from dpmix.files import read_json, write_json
from dpmix.models.libraries.base import write_captions
from dpmix.models.libraries.open_clip import save_open_clip
from dpmix.models.libraries.timm import save_timm
from dpmix.params.models import EncoderSpec
from dpmix.params.specs import DatasetSpec

TEST = 600  # more than one batch

DATASET = DatasetSpec(name="shapes", label="Shapes", source="folder", path="raw", classes=3, train=9, test=TEST)

CLASSES = ("BigSquare", "round_thing", "7")

SPOKEN = ("big square", "round thing", "7")

COLOURS = {"mean": [0.4] * 3, "std": [0.3] * 3}

CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 16, "layers": 1},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


def wanted(architecture: str = "tiny", prompts: tuple[str, ...] = ("a photo of a {}",), name: str = "eye") -> ZeroShot:
    # Encoders are told apart by their weights.
    spec = EncoderSpec(
        kind="encoder", name=name, label="Eye", architecture=architecture, weights=name, resolution=16
    )  # fmt: skip
    return ZeroShot(dataset=DATASET, model=spec, prompts=prompts)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """A store of noise in the current folder; there is no training split to look at."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    # Patches of plain colours: an encoder with random weights takes noise for the same, whatever it is.
    images = random.integers(0, 256, (TEST, 3, 2, 2)).repeat(8, axis=2).repeat(8, axis=3).astype(np.uint8)
    labels = random.integers(0, 3, TEST)
    folder = wanted().images().path("demo").parent
    folder.mkdir(parents=True)
    np.save(folder / "test_images.npy", images)
    np.save(folder / "test_labels.npy", labels)
    write_json(
        folder / "meta.json", {"classes": list(CLASSES), "resolution": 16, "channels": 3, "sizes": {"test": TEST}}
    )
    return images, labels


ONE, TWO = ("a photo of a {}",), ("a photo of a {}", "{}, drawn in ink by the sea")


def test_the_accuracy_is_that_of_openclips_own_classifier(store: tuple[np.ndarray, np.ndarray]) -> None:
    """Of two encoders, with one prompt and with two, all in one call."""
    import open_clip

    images, labels = store
    pixels = (torch.from_numpy(images).float() / 255 - 0.4) / 0.3
    tokenizer = open_clip.SimpleTokenizer(context_length=16)
    expected: dict[tuple[str, tuple[str, ...]], float] = {}
    several = []
    for seed, name in ((1, "eye"), (5, "other")):  # such whose predictions are not all one class
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = open_clip.CLIP(**CONFIG).eval()  # type: ignore[arg-type]
        for prompts in (ONE, TWO):
            several.append(wanted(prompts=prompts, name=name))
            with torch.no_grad():
                weights = open_clip.build_zero_shot_classifier(
                    model, tokenizer, SPOKEN, [lambda one, prompt=prompt: prompt.format(one) for prompt in prompts]
                )
                predictions = (model.encode_image(pixels, normalize=True) @ weights).argmax(dim=1).numpy()
            assert len(set(predictions)) > 1
            expected[name, prompts] = 100 * (predictions == labels).mean()
        save_open_clip(model, CONFIG, COLOURS, EncoderModel(encoder=several[-1].model).path("demo").parent)
    assert len(set(expected.values())) == 4
    zero_shot.measure(several, "demo", Execution(device="cpu"))
    for one in several:
        record = read_json(one.path("demo"))
        # A prediction or two in 600 may be a matter of rounding.
        assert record["accuracy"] == pytest.approx(expected[one.model.name, one.prompts], abs=0.2)
        assert (record["prompts"], record["epsilon"]) == (list(one.prompts), {})
        assert ZeroShot.model_validate(record["experiment"]) == one


def test_what_is_missing_is_one_line() -> None:
    with pytest.raises(DpmixError, match="holds no encoder"):
        zero_shot.measure([wanted()], "demo", Execution(device="cpu"))
    assert not wanted().path("demo").exists()


def test_a_backbone_without_text_is_one_line() -> None:
    import timm

    one = wanted("timm/test_vit")
    save_timm(timm.create_model("test_vit", num_classes=0), EncoderModel(encoder=one.model).path("demo").parent)
    with pytest.raises(ParamsError, match="no text tower, hence no zero-shot classifier; use an OpenCLIP model"):
        zero_shot.measure([one], "demo", Execution(device="cpu"))
    assert not one.path("demo").exists()


def test_an_encoder_that_was_trained_on_captions_of_other_classes_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import open_clip

    folder = EncoderModel(encoder=wanted().model).path("demo").parent
    save_open_clip(open_clip.CLIP(**CONFIG), CONFIG, COLOURS, folder)  # type: ignore[arg-type]
    write_captions(folder, ["big-square", "Round Thing", "8"])
    zero_shot.measure([wanted()], "demo", Execution(device="cpu"))
    assert (
        f"{folder} was trained on captions of 3 classes, and '7' is none of them: its zero-shot accuracy will be about "
        "chance (there are big square, round thing, 8)"
    ) in capsys.readouterr().err
    write_captions(folder, ["another", "big-square", "Round Thing", "7"])
    zero_shot.measure([wanted()], "demo", Execution(device="cpu"))
    assert "captions" not in capsys.readouterr().err
