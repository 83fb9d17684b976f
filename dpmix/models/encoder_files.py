"""Encoders on disk: reads and writes the folder that each encoder has, in OpenCLIP's or timm's own format.

    open_clip_config.json  open_clip_model.safetensors      read by OpenCLIP under `local-dir:<folder>`
    config.json            model.safetensors                read by timm under `local-dir:<folder>`

OpenCLIP takes seconds to import, so this module imports it only inside the functions that need it.
"""

import contextlib
import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dpmix.errors import DataError
from dpmix.execution import Execution, Precision
from dpmix.files import atomic_directory, read_json, write_json

if TYPE_CHECKING:
    from dpmix.models.encoder import Encoder
from dpmix.models.encoder import Encoder, TextTower

OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"

TIMM_CONFIG, TIMM_WEIGHTS = "config.json", "model.safetensors"


def _dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The dtype in which an encoder computes on this device; None is float32."""
    if precision != "auto":
        return None if precision == "float32" else getattr(torch, precision)
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def shared_encoder(directory: Path, execution: Execution) -> "Encoder":
    """The encoder in a folder. A process loads it once for each device, precision and use of `torch.compile`.

    Args:
        directory: as for `load_encoder`.
        execution: device, precision, and whether to compile. The precision `auto` is float32 on the CPU, and on a GPU
            bfloat16, or float16 if it has no bfloat16. Embeddings are float32 in any case.

    Raises:
        DataError: as `load_encoder`.
    """
    how = (execution.where(), execution.encoder_precision, execution.compile_encoder)
    return _loaded(directory.resolve(), *how)


@functools.cache
def _loaded(directory: Path, device: str, precision: Precision, compiled: bool) -> "Encoder":
    dtype = _dtype(precision, torch.device(device)) or torch.float32
    return load_encoder(directory, device=device, dtype=dtype, compiled=compiled)


def load_encoder(
    directory: Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    batch_size: int = 512,
    compiled: bool = False,
) -> Encoder:
    """Read an encoder from a folder; the network is not used.

    Args:
        directory: the folder, in OpenCLIP's or timm's own format, with safetensors weights.
        device: where to compute.
        dtype: bfloat16, float16 or float32; by default float32 on the CPU and half precision on a GPU. Embeddings are
            float32 in any case.
        batch_size: images in a forward pass.
        compiled: whether to use `torch.compile`, which takes a minute; on a GPU only.

    Raises:
        DataError: if files are missing, damaged or do not fit together (missing weights are never left random), or an
            image's embedding depends on other images of its batch.
    """
    directory, device = Path(directory), torch.device(device)
    dtype = _dtype("auto", device) if dtype is None else dtype
    for config, weights, load in (
        (OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, _load_open_clip),
        (TIMM_CONFIG, TIMM_WEIGHTS, _load_timm),
    ):
        if (directory / config).is_file():
            if not (directory / weights).is_file():
                raise DataError(f"{directory / weights} does not exist; fetch or train the encoder again")
            read_json(directory / config)
            try:
                arguments = load(directory)
            except Exception as error:  # each library has its own errors for a folder that does not fit together
                reason = " ".join(str(error).split())[:200]
                raise DataError(f"{directory} is not a whole encoder ({reason}); fetch or train it again") from error
            name = str(directory)
            how: dict[str, Any] = {"device": device, "dtype": dtype, "batch_size": batch_size, "compiled": compiled}
            return Encoder(**arguments, **how, name=name)
    raise DataError(f"{directory} holds no encoder ({OPEN_CLIP_CONFIG} is missing); fetch or train it first")


def _load_open_clip(directory: Path) -> dict[str, Any]:
    import open_clip

    import dpmix.models.small_repvgg
    import dpmix.models.tiny_convnext  # noqa: F401  # registered with timm

    source = f"local-dir:{directory}"
    with quiet():
        model = open_clip.create_model(source, require_pretrained=True)
    preprocess: dict[str, Any] = open_clip.get_model_preprocess_cfg(model)
    size = preprocess["size"]
    return {
        "visual": model.visual,
        "resolution": size if isinstance(size, int) else size[0],
        "mean": preprocess["mean"],
        "std": preprocess["std"],
        "interpolation": preprocess.get("interpolation", "bicubic"),
        "text": TextTower(model, source),
    }


def _load_timm(directory: Path) -> dict[str, Any]:
    import timm

    model = timm.create_model(f"local-dir:{directory}", pretrained=True, num_classes=0)
    data = timm.data.resolve_model_data_config(model)
    return {
        "visual": model,
        "resolution": data["input_size"][-1],
        "mean": data["mean"],
        "std": data["std"],
        "interpolation": data["interpolation"],
    }


def save_encoder(model: nn.Module, model_cfg: dict[str, Any], preprocess_cfg: dict[str, Any], out: Path) -> None:
    """Write an OpenCLIP model as the folder that `load_encoder` reads, whole or not at all."""
    from safetensors.torch import save_file

    with atomic_directory(Path(out)) as folder:
        write_json(folder / OPEN_CLIP_CONFIG, {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg})
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, folder / OPEN_CLIP_WEIGHTS, metadata={"format": "pt"})


def save_timm_encoder(model: nn.Module, out: Path) -> None:
    """Write a timm backbone (made with `num_classes=0`) as the folder that `load_encoder` reads."""
    from timm.models import save_for_hf

    with atomic_directory(Path(out)) as folder:
        save_for_hf(model, str(folder), safe_serialization=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A context without logging: OpenCLIP logs an error before it raises it, and our message follows anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
