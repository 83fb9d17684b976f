from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional

from dpmix.demo import encoder
from dpmix.demo.strokes import CLASSES, draw
from dpmix.errors import ParamsError
from dpmix.models.encoders import load_encoder

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("architecture", ["tiny-vit", "tiny-convnext"])
def test_a_short_training_beats_chance_and_repeats(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encoder._STEPS, architecture, 40)
    images, labels = draw(1200, seed=0)
    state = torch.random.get_rng_state()
    for name in ("first", "second"):
        encoder.train_encoder(architecture, images[:1000], labels[:1000], CLASSES, tmp_path / name, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)  # no global randomness is used
    weights = [(tmp_path / name / "open_clip_model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]

    model = load_encoder(tmp_path / "first")
    assert (model.dim, model.resolution) == (64, 16)
    embeddings = functional.normalize(model(torch.from_numpy(images[1000:]) / 255), dim=1)
    predicted = (embeddings @ model.zero_shot_weights(CLASSES).T).argmax(1)
    assert (predicted.numpy() == labels[1000:]).mean() > 0.5


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    images, labels = draw(10, seed=0)
    with pytest.raises(ParamsError, match="tiny-vit, tiny-convnext"):
        encoder.train_encoder("huge-vit", images, labels, CLASSES, tmp_path / "out", seed=0)
