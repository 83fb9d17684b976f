"""Trains small encoders on public images, as OpenCLIP models, in seconds or minutes on a CPU.

The demo uses two for 16 px, trained on drawn digits, in place of the paper's ViT-B/16 and ConvNeXt-B, which were
trained on LAION-2B. `small-repvgg`, for 32 px, is trained on any public images in class folders (`weights: public`).
The loss is the cross-entropy of an image against the captions of all classes. CLIP's contrastive loss within a batch
would treat other images of the same class as negatives.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from dpmix.errors import ParamsError
from dpmix.models.libraries.open_clip import save_open_clip
from dpmix.models.small_encoders import ARCHITECTURES, RECIPES, TEXT_TOWER, configuration
from dpmix.progress import progress
from dpmix.random import key_of, torch_generator

TEMPLATE = "a photo of a {}"


def train_encoder(
    architecture: str,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    out: Path,
    seed: int,
) -> None:
    """Train an encoder on public images and write the folder that `dpmix.models.encoder_files.load_encoder` reads.

    Args:
        architecture: one of `ARCHITECTURES`.
        images: uint8 [n, C, R, R], C = 1 or 3; resized to the architecture's 16 or 32 px if R differs.
        labels: int64 [n].
        classes: class names; the caption of a class is "a photo of a <class>".
        out: the folder to write, whole or not at all.
        seed: determines initial weights and batches; the result is the same for the same seed on the same machine.

    Raises:
        ParamsError: for an unknown architecture.
    """
    if architecture not in RECIPES:
        raise ParamsError(
            f"no encoder that is trained here is called {architecture!r}; choose one of {', '.join(ARCHITECTURES)}"
        )
    import open_clip

    import dpmix.models.tiny_convnext  # noqa: F401  # registers the demo's ConvNeXt
    from dpmix.models import small_repvgg

    recipe, model_cfg = RECIPES[architecture], configuration(architecture)
    size, repvgg = recipe.vision["image_size"], recipe.vision.get("timm_model_name") == small_repvgg.SMALL_REPVGG
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_of(32, seed, "encoder", architecture))
        model = open_clip.CLIP(**model_cfg)
        if repvgg:
            model.visual.trunk = small_repvgg.branched(num_classes=0).to(memory_format=torch.channels_last)
    model.train()
    # The token embedding has most of the parameters, but captions use only a few dozen of its 49,408 rows.
    model.token_embedding.requires_grad_(False)
    tokens = open_clip.SimpleTokenizer(context_length=TEXT_TOWER["context_length"])(
        [TEMPLATE.format(c) for c in classes]
    )

    colours = recipe.colours or _colours(images)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in colours)
    order = torch_generator(seed, "encoder batches")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=recipe.learning_rate, total_steps=recipe.steps)
    targets = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    for _ in progress(range(recipe.steps), f"training {architecture}"):
        batch = torch.randint(len(images), (recipe.batch,), generator=order)
        pixels = torch.from_numpy(np.asarray(images[batch.numpy()])).float() / 255
        if pixels.shape[-1] != size:
            pixels = functional.interpolate(pixels, size=(size, size), mode="bicubic", antialias=True)
        pixels = _shifted(pixels, recipe.padding, order)
        if recipe.flip:
            mirrored = torch.rand(len(pixels), generator=order) < 0.5
            pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
        embedded = model.encode_image((pixels - mean) / std, normalize=True)
        captions = model.encode_text(tokens, normalize=True)
        logits = model.logit_scale.exp() * embedded @ captions.T
        loss = functional.cross_entropy(logits, targets[batch], label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))  # as CLIP does
    if repvgg:
        model.visual.trunk = small_repvgg.fused(model.visual.trunk.eval())
    preprocess = {
        "mean": list(colours[0]),
        "std": list(colours[1]),
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    save_open_clip(model, model_cfg, preprocess, out)


def _colours(images: npt.NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The images' mean and standard deviation of each channel, to two digits."""
    seen = np.broadcast_to(images, (len(images), 3, *images.shape[2:])) / np.float32(255)
    mean, std = seen.mean(axis=(0, 2, 3)), seen.std(axis=(0, 2, 3))
    return tuple(round(float(each), 2) for each in mean), tuple(max(0.01, round(float(each), 2)) for each in std)


def _shifted(pixels: Tensor, padding: int, random: torch.Generator) -> Tensor:
    """Each image [n, C, R, R] moved by up to `padding` pixels either way, on black."""
    n, _, side, _ = pixels.shape
    padded = functional.pad(pixels, (padding,) * 4)
    moves = 2 * padding + 1
    rows, columns = (torch.randint(moves, (n, 1), generator=random) + torch.arange(side) for _ in range(2))
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
