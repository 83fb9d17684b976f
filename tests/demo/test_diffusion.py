import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from dpmix.demo import diffusion
from dpmix.demo.strokes import CLASSES, draw

pytestmark = pytest.mark.filterwarnings("ignore")


def test_each_word_is_one_token_and_captions_differ() -> None:
    captions = [diffusion.TEMPLATE.format(name) for name in (*CLASSES, "touring bike", "two")]
    tokenizer = diffusion._tokenizer(captions)
    ids = [tuple(tokenizer(caption)["input_ids"]) for caption in captions]
    assert len(set(ids)) == len(captions)
    assert len(ids[0]) == 2 + len(captions[0].split())
    assert max(map(len, ids)) == tokenizer.model_max_length
    assert all(row[0] == tokenizer.bos_token_id and row[-1] == tokenizer.eos_token_id for row in ids)


def test_a_short_training_saves_a_pipeline_that_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusion, "_AUTOENCODER_STEPS", 6)
    monkeypatch.setattr(diffusion, "_UNET_STEPS", 6)
    images, labels = draw(64, seed=0)
    state = torch.random.get_rng_state()
    for name in ("first", "second"):
        diffusion.train_diffusion(images, labels, CLASSES, tmp_path / name, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)  # no global randomness is used
    for part in ("unet", "vae"):
        files = [tmp_path / name / part / "diffusion_pytorch_model.safetensors" for name in ("first", "second")]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert files[0].stat().st_mode & 0o777 == (tmp_path / "first").stat().st_mode & 0o666
        assert stat.S_ISREG(files[0].stat().st_mode)

    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "first")
    pipeline.set_progress_bar_config(disable=True)

    def paint(caption: str) -> np.ndarray:
        random = torch.Generator().manual_seed(0)
        painted = pipeline(
            caption, num_inference_steps=2, guidance_scale=1.0, height=16, width=16, generator=random, output_type="np"
        )
        return np.asarray(painted.images[0])

    assert paint("a photo of a 3").shape == (16, 16, 3)
    assert not np.array_equal(paint("a photo of a 3"), paint("a photo of a 8"))  # the caption is heard
    # Latents leave the autoencoder at about unit scale, as the scheduler assumes.
    latents = diffusion._encode(pipeline.vae, torch.from_numpy(images)) * pipeline.vae.config.scaling_factor
    assert 0.8 < float(latents.std()) < 1.25
