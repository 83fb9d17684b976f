"""Checkpoints of the paper's models: their architectures, names and file layouts, with random values.

OpenCLIP's and torch-fidelity's, both of full size; `rehearsal.stable_diffusion` has the third.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rehearsal.hub import Repository

# The repositories that OpenCLIP's tags name.
VIT, CONVNEXT = "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "laion/CLIP-convnext_base_w-laion2B-s13B-b82K"

# What nobody may open: a pickle that a reader of safetensors has no reason to ask for.
PICKLE = b"cos\n_exit\n(I3\ntR."

ATTRIBUTES = b"*.bin filter=lfs diff=lfs merge=lfs -text\n*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def written(path: Path, make: Callable[[Path], None]) -> Path:
    """The file, made unless it is there; whole or not at all."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        growing = path.with_name(f".{path.name}")
        make(growing)
        growing.replace(path)
    return path


def seeded(build: Callable[[], Any]) -> Any:
    """What a function builds with torch's generator at the seed 0, which stays as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


# OpenCLIP -------------------------------------------------------------------------------------------------------------


def open_clip_repository(architecture: str, cache: Path, commit: str) -> Repository:
    """A repository of OpenCLIP's weights of one of its architectures, random, in 32 bits."""

    def make(path: Path) -> None:
        import open_clip
        from safetensors.torch import save_file

        model = seeded(lambda: open_clip.create_model(architecture, load_weights=False, pretrained_text=False))
        save_file({name: one.contiguous() for name, one in model.state_dict().items()}, path, {"format": "pt"})

    weights = written(cache / f"{architecture}.safetensors", make)
    config = {"model_cfg": _open_clip_config(architecture), "preprocess_cfg": {}}
    files: dict[str, bytes | Path] = {
        ".gitattributes": ATTRIBUTES,
        "README.md": b"---\nlicense: mit\nlibrary_name: open_clip\n---\n",
        "open_clip_config.json": json.dumps(config).encode(),
        "open_clip_model.safetensors": weights,
        "open_clip_pytorch_model.bin": PICKLE,
    }
    return Repository(files, commit)


def _open_clip_config(architecture: str) -> Any:
    import open_clip

    return open_clip.get_model_config(architecture)


# InceptionV3 ----------------------------------------------------------------------------------------------------------


def inception(cache: Path) -> Path:
    """torch-fidelity's checkpoint of InceptionV3: its structure and names, with values that keep features near 1.

    By torch's own initialisation they would shrink to 1e-8.
    """

    def make(path: Path) -> None:
        import torch
        from torch import nn
        from torch_fidelity import feature_extractor_inceptionv3 as fidelity

        # It is built only from a checkpoint; an empty one is no error where nothing is loaded from it.
        kept = fidelity.load_state_dict_from_url, fidelity.FeatureExtractorInceptionV3.load_state_dict
        fidelity.load_state_dict_from_url = lambda *_, **__: {}
        fidelity.FeatureExtractorInceptionV3.load_state_dict = lambda self, state: None
        try:
            network = seeded(lambda: fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]))
        finally:
            fidelity.load_state_dict_from_url, fidelity.FeatureExtractorInceptionV3.load_state_dict = kept
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                seeded(lambda module=module: nn.init.kaiming_normal_(module.weight, nonlinearity="relu"))
        torch.save(network.state_dict(), path)

    return written(cache / "weights-inception-2015-12-05-rehearsal.pth", make)
