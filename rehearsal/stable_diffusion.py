"""A repository of Stable Diffusion 1.4's layout: the pipeline's structure, names and tokenizer, narrow networks."""

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rehearsal.hub import Repository
from rehearsal.weights import ATTRIBUTES, PICKLE, seeded, written

# The repository that `params.yaml` names, and the commit at which it is read.
DIFFUSION, DIFFUSION_COMMIT = "CompVis/stable-diffusion-v1-4", "133a221b8aa7292a167afc5127cb63fb5005638b"

_WIDTH = 32  # of the narrow networks

_TEXT = {
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": _WIDTH,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 2 * _WIDTH,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 1,
    "torch_dtype": "float32",
    "transformers_version": "4.22.0.dev0",
    "vocab_size": 49408,
}

_VISION = {
    "attention_dropout": 0.0,
    "hidden_act": "quick_gelu",
    "hidden_size": _WIDTH,
    "image_size": 224,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 2 * _WIDTH,
    "layer_norm_eps": 1e-05,
    "model_type": "clip_vision_model",
    "num_attention_heads": 4,
    "num_channels": 3,
    "num_hidden_layers": 2,
    "patch_size": 14,
    "projection_dim": 16,
}


def _some(config: dict[str, Any]) -> dict[str, Any]:
    """What old configurations say twice."""
    named = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "patch_size")
    return {key: config[key] for key in named if key in config}


_CHECKER = {
    "architectures": ["StableDiffusionSafetyChecker"],
    "initializer_factor": 1.0,
    "logit_scale_init_value": 2.6592,
    "model_type": "clip",
    "projection_dim": 16,
    "text_config": {**_TEXT, "architectures": None},
    "text_config_dict": _some(_TEXT),
    "torch_dtype": "float32",
    "transformers_version": None,
    "vision_config": _VISION,
    "vision_config_dict": _some(_VISION),
}

_UNET = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.2.2",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [_WIDTH, _WIDTH, _WIDTH, _WIDTH],
    "center_input_sample": False,
    "cross_attention_dim": _WIDTH,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}

_VAE = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.2.2",
    "act_fn": "silu",
    "block_out_channels": [_WIDTH] * 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "out_channels": 3,
    "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}

_SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.7.0.dev0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}

_FEATURES = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 224,
}

_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.2.2",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

# What the autoencoder's attention was called when these weights were saved.
_OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def tokenizer_files() -> dict[str, bytes]:
    """CLIP's tokenizer in the files of transformers' slow one: 49,408 entries, of the merges that OpenCLIP carries."""
    import open_clip
    from open_clip.tokenizer import bytes_to_unicode

    path = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    merges = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    letters = list(bytes_to_unicode().values())
    entries = [*letters, *(f"{one}</w>" for one in letters), *("".join(one.split()) for one in merges)]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    marks = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    told = {
        name: {"content": text, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        for name, text in marks.items()
    }
    config = {
        "add_prefix_space": False,
        **{name: {"__type": "AddedToken", **one} for name, one in told.items()},
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "name_or_path": "openai/clip-vit-large-patch14",
        "pad_token": "<|endoftext|>",
        "special_tokens_map_file": "./special_tokens_map.json",
        "tokenizer_class": "CLIPTokenizer",
    }
    return {
        "merges.txt": ("#version: 0.2\n" + "\n".join(merges) + "\n").encode(),
        "special_tokens_map.json": json.dumps({**told, "pad_token": "<|endoftext|>"}).encode(),
        "tokenizer_config.json": json.dumps(config).encode(),
        "vocab.json": json.dumps({text: number for number, text in enumerate(entries)}).encode(),
    }


def diffusion_repository(cache: Path) -> Repository:
    """A repository of Stable Diffusion 1.4's layout: every component, as pickles and safetensors, in 32 and 16 bits."""
    files: dict[str, bytes | Path] = {
        ".gitattributes": ATTRIBUTES,
        "README.md": b"---\nlicense: creativeml-openrail-m\n---\n",
        "model_index.json": json.dumps(_INDEX).encode(),
        "v1-variants-scores.jpg": b"\xff\xd8\xff\xe0",
        "feature_extractor/preprocessor_config.json": json.dumps(_FEATURES).encode(),
        "scheduler/scheduler_config.json": json.dumps(_SCHEDULER).encode(),
    }
    files |= {f"tokenizer/{name}": content for name, content in tokenizer_files().items()}
    for part, (config, stem, make) in _PARTS.items():
        files[f"{part}/config.json"] = json.dumps(config).encode()
        weights = written(cache / f"stable-diffusion-{part}.safetensors", make)
        names = ("model", "pytorch_model") if stem == "model" else (stem, stem)
        files[f"{part}/{names[0]}.safetensors"] = weights
        files[f"{part}/{names[1]}.bin"] = PICKLE
        files[f"{part}/{names[0]}.fp16.safetensors"] = b"not asked for"
        files[f"{part}/{names[1]}.fp16.bin"] = PICKLE
    return Repository(files, DIFFUSION_COMMIT)


def _save(tensors: Mapping[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: one.detach().contiguous().clone() for name, one in tensors.items()}, path, {"format": "pt"})


def _text_encoder(path: Path) -> None:
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    model = seeded(lambda: CLIPTextModel(CLIPTextConfig(**_without_names(_TEXT))))
    # As these were called, and saved, when the published file was written.
    named = {
        name if name.startswith("text_model.") else f"text_model.{name}": one
        for name, one in model.state_dict().items()
    }
    _save({**named, "text_model.embeddings.position_ids": torch.arange(77)[None]}, path)


def _checker(path: Path) -> None:
    import torch
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    config = CLIPConfig(text_config=_without_names(_TEXT), vision_config=_without_names(_VISION), projection_dim=16)
    tensors = {}
    for name, tensor in seeded(lambda: StableDiffusionSafetyChecker(config)).state_dict().items():
        inner = name.removeprefix("vision_model.").removeprefix("vision_model.")
        tensors[f"vision_model.vision_model.{inner}" if name.startswith("vision_model.") else name] = tensor
    for name in ("concept_embeds", "special_care_embeds"):
        tensors[name] = seeded(lambda name=name: torch.randn(len(tensors[name]), 16))
        # A cosine that random vectors do not reach.
        tensors[f"{name}_weights"] = torch.full((len(tensors[name]),), 0.95)
    tensors["vision_model.vision_model.embeddings.position_ids"] = torch.arange(257)[None]
    _save(tensors, path)


def _unet(path: Path) -> None:
    from diffusers import UNet2DConditionModel

    _save(seeded(lambda: UNet2DConditionModel.from_config(_UNET)).state_dict(), path)


def _vae(path: Path) -> None:
    from diffusers import AutoencoderKL

    tensors = seeded(lambda: AutoencoderKL.from_config(_VAE)).state_dict()
    renamed = {}
    for name, tensor in tensors.items():
        for new, old in _OLD_NAMES.items():
            name = name.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
        renamed[name] = tensor
    _save(renamed, path)


def _without_names(config: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in config.items()
        if key not in ("architectures", "torch_dtype", "transformers_version", "model_type")
    }


_PARTS: dict[str, tuple[dict[str, Any], str, Callable[[Path], None]]] = {
    "safety_checker": (_CHECKER, "model", _checker),
    "text_encoder": (_TEXT, "model", _text_encoder),
    "unet": (_UNET, "diffusion_pytorch_model", _unet),
    "vae": (_VAE, "diffusion_pytorch_model", _vae),
}
