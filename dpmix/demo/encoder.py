"""The demo's two encoders: OpenCLIP models, small enough to train in seconds, on the drawn digits alone.

They stand for the paper's ViT-B/16 and ConvNeXt-B, which were trained on LAION-2B. The loss is cross-entropy of an
image against the captions of all classes: with ten captions, the in-batch contrastive loss of CLIP would call other
images of the same class negatives.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from dpmix.errors import ParamsError
from dpmix.models.encoders import save_encoder
from dpmix.progress import progress
from dpmix.random import generator

TEMPLATE = "a photo of a {}"
_DIM = 64
_BATCH = 128
_STEPS = {"tiny-vit": 500, "tiny-convnext": 500}
_TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1}
_VISION: dict[str, dict[str, Any]] = {
    "tiny-vit": {"image_size": 16, "patch_size": 8, "width": 64, "head_width": 32, "layers": 3, "mlp_ratio": 2.0},
    "tiny-convnext": {
        "image_size": 16,
        "timm_model_name": "dpmix_convnext_tiny16",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
    },
}
ARCHITECTURES = tuple(_VISION)
# The drawn digits' own mean and standard deviation, to two digits.
_COLOURS = {"mean": [0.27] * 3, "std": [0.33] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


def configuration(architecture: str) -> dict[str, Any]:
    """The arguments of `open_clip.CLIP` that make one of `ARCHITECTURES`."""
    return {"embed_dim": _DIM, "vision_cfg": _VISION[architecture], "text_cfg": _TEXT}


def train_encoder(
    architecture: str,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    out: Path,
    seed: int,
) -> None:
    """Train an encoder on public images and write the folder that `dpmix.models.encoders.load_encoder` reads.

    Args:
        architecture: "tiny-vit" or "tiny-convnext", both for 16 px.
        images: uint8 [n, C, R, R], C = 1 or 3; resized to 16 px if R differs.
        labels: int64 [n].
        classes: class names; the caption of a class is "a photo of a <class>".
        out: the folder to write, whole or not at all.
        seed: determines initial weights and batches; the result is the same for the same seed on the same machine.
    """
    if architecture not in _VISION:
        raise ParamsError(f"no demo encoder is called {architecture!r}; choose one of {', '.join(_VISION)}")
    import open_clip

    import dpmix.models.tiny_convnext  # noqa: F401  # registers the demo's ConvNeXt

    model_cfg = configuration(architecture)
    size = _VISION[architecture]["image_size"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator(seed, "encoder", architecture))))
        model = open_clip.CLIP(**model_cfg)
    model.train()
    # Ten captions use a few dozen of its 49,408 rows, and it is nine tenths of the parameters.
    model.token_embedding.requires_grad_(False)
    tokens = open_clip.SimpleTokenizer(context_length=_TEXT["context_length"])([TEMPLATE.format(c) for c in classes])

    mean, std = (torch.tensor(_COLOURS[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    order = generator(seed, "encoder batches")
    steps = _STEPS[architecture]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, weight_decay=0.05, foreach=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    targets = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    for _ in progress(range(steps), f"training {architecture}"):
        batch = torch.randint(len(images), (_BATCH,), generator=order)
        pixels = torch.from_numpy(np.asarray(images[batch.numpy()])).float() / 255
        if pixels.shape[-1] != size:
            pixels = functional.interpolate(pixels, size=(size, size), mode="bicubic", antialias=True)
        pixels = _shifted(pixels, order)
        embedded = model.encode_image((pixels - mean) / std, normalize=True)
        captions = model.encode_text(tokens, normalize=True)
        loss = functional.cross_entropy(model.logit_scale.exp() * embedded @ captions.T, targets[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))  # as CLIP does
    save_encoder(model, model_cfg, _COLOURS, out)


def _shifted(pixels: Tensor, random: torch.Generator) -> Tensor:
    """Each image [n, C, R, R] moved by up to one pixel either way: handwriting is less well centred than drawings."""
    n, _, side, _ = pixels.shape
    padded = functional.pad(pixels, (1, 1, 1, 1))
    rows, columns = (torch.randint(3, (n, 1), generator=random) + torch.arange(side) for _ in range(2))
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
