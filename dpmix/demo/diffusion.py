"""The demo's text-to-image model: a real `StableDiffusionPipeline`, small enough to train in under a minute.

The demo uses it in place of Stable Diffusion. It has the same parts (Rombach et al., 2022): an autoencoder, a CLIP text
encoder with its tokenizer, a U-Net that denoises latents with cross-attention to the caption, and a scheduler. It is
trained on the drawn digits, as the demo's encoders are, and saved in diffusers' own format, so that
`dpmix.synthesis.draw.synthesize` loads it like Stable Diffusion.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from dpmix.progress import progress
from dpmix.random import key_of, torch_generator
from dpmix.synthesis.pipeline import save_model

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from transformers import CLIPTextModel, CLIPTokenizer

TEMPLATE = "a photo of a {}"
_SIZE = 16  # px; latents have half as many
_UNCAPTIONED = 0.05  # share of empty captions, which classifier-free guidance needs
_AUTOENCODER_STEPS, _AUTOENCODER_BATCH = 200, 48
_UNET_STEPS, _UNET_BATCH = 600, 64


def train_diffusion(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], classes: Sequence[str], out: Path, seed: int
) -> None:
    """Train a text-to-image model on public images and save it to the folder `out` for diffusers to load.

    Args:
        images: uint8 [n, C, R, R], C = 1 or 3; resized to 16 px if R differs. The model paints in RGB.
        labels: int64 [n].
        classes: class names; the caption of a class is "a photo of a <class>".
        out: the folder to write, whole or not at all.
        seed: determines initial weights, batches and noise; the result is the same for the same seed on one machine.
    """
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    captions = [TEMPLATE.format(name) for name in classes]
    tokenizer = _tokenizer(captions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_of(32, seed, "diffusion"))
        autoencoder = AutoencoderKL(
            sample_size=_SIZE,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 16),
            latent_channels=4,
            norm_num_groups=4,
            mid_block_add_attention=False,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=tokenizer.model_max_length,
                projection_dim=32,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=_SIZE // 2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            mid_block_type=None,
            block_out_channels=(32, 32),
            layers_per_block=1,
            norm_num_groups=8,
            attention_head_dim=2,
            cross_attention_dim=32,
        )
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        steps_offset=1,
    )

    for network in (autoencoder, unet):
        network.to(memory_format=torch.channels_last)  # a tenth faster
    pixels = torch.from_numpy(np.asarray(images))
    _train_autoencoder(autoencoder, pixels, seed)
    latents = _encode(autoencoder, pixels)
    autoencoder.register_to_config(scaling_factor=float(1 / latents.std()))
    latents = latents * autoencoder.config.scaling_factor
    targets = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    _train_unet(unet, text_encoder, tokenizer, captions, latents, targets, scheduler.alphas_cumprod, seed)

    pipeline = StableDiffusionPipeline(
        vae=autoencoder.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=tokenizer,
        unet=unet.eval(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    save_model(pipeline, out)


def _tokenizer(captions: Sequence[str]) -> "CLIPTokenizer":
    """CLIP's byte-pair tokenizer with a vocabulary of just these captions: each word one token, or a few."""
    from transformers import CLIPTokenizer

    words = sorted({word for caption in captions for word in caption.lower().split()})
    letters = sorted({letter for word in words for letter in word})
    vocabulary = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in words:
        symbols = [*word[:-1], word[-1] + "</w>"]
        built = symbols[0]
        for symbol in symbols[1:]:
            if (built, symbol) not in merges:
                merges.append((built, symbol))
            built += symbol
            if built not in vocabulary:
                vocabulary.append(built)
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    ids = {token: index for index, token in enumerate(vocabulary)}
    tokenizer = CLIPTokenizer(vocab=ids, merges=merges)
    longest = max(len(tokenizer(caption)["input_ids"]) for caption in captions)
    return CLIPTokenizer(vocab=ids, merges=merges, model_max_length=longest)


def _batch(pixels: Tensor, index: Tensor | slice) -> Tensor:
    """Images as the autoencoder takes them: float32 [n, 3, 16, 16] in [-1, 1]."""
    batch = pixels[index].float() / 127.5 - 1
    if batch.shape[-1] != _SIZE:
        batch = functional.interpolate(batch, size=(_SIZE, _SIZE), mode="bicubic", antialias=True)
    return batch.expand(-1, 3, -1, -1)


def _train_autoencoder(autoencoder: "AutoencoderKL", pixels: Tensor, seed: int) -> None:
    """Minimise the squared error, plus a small KL term that keeps the latents near unit scale."""
    random = torch_generator(seed, "autoencoder")
    optimizer, schedule = _optimizer(autoencoder.parameters(), 4e-3, _AUTOENCODER_STEPS)
    autoencoder.train()
    for _ in progress(range(_AUTOENCODER_STEPS), "training autoencoder"):
        batch = _batch(pixels, torch.randint(len(pixels), (_AUTOENCODER_BATCH,), generator=random))
        posterior = autoencoder.encode(batch).latent_dist
        restored = autoencoder.decode(posterior.sample(generator=random)).sample
        loss = functional.mse_loss(restored, batch) + 1e-5 * posterior.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _encode(autoencoder: "AutoencoderKL", pixels: Tensor) -> Tensor:
    autoencoder.eval()
    with torch.no_grad():
        parts = [
            autoencoder.encode(_batch(pixels, slice(start, start + 256))).latent_dist.mean
            for start in range(0, len(pixels), 256)
        ]
    return torch.cat(parts)


def _train_unet(
    unet: torch.nn.Module,
    text_encoder: "CLIPTextModel",
    tokenizer: "CLIPTokenizer",
    captions: Sequence[str],
    latents: Tensor,
    labels: Tensor,
    alphas: Tensor,
    seed: int,
) -> None:
    """Minimise the squared error of the velocity v = sqrt(alpha) noise - sqrt(1 - alpha) x (Salimans and Ho, 2022)."""
    random = torch_generator(seed, "unet")
    tokens = tokenizer([*captions, ""], padding="max_length", truncation=True, return_tensors="pt").input_ids
    uncaptioned = len(captions)
    optimizer, schedule = _optimizer([*unet.parameters(), *text_encoder.parameters()], 3e-3, _UNET_STEPS)
    unet.train()
    text_encoder.train()
    for _ in progress(range(_UNET_STEPS), "training diffusion"):
        index = torch.randint(len(latents), (_UNET_BATCH,), generator=random)
        clean, noise = latents[index], torch.randn(_UNET_BATCH, *latents.shape[1:], generator=random)
        steps = torch.randint(len(alphas), (_UNET_BATCH,), generator=random)
        dropped = torch.rand(_UNET_BATCH, generator=random) < _UNCAPTIONED
        alpha = alphas[steps].reshape(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
        embedded = text_encoder(tokens)[0][torch.where(dropped, uncaptioned, labels[index])]
        loss = functional.mse_loss(unet(noisy, steps, encoder_hidden_states=embedded).sample, velocity)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _optimizer(parameters: Any, rate: float, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01, foreach=True)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
