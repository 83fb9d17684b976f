"""Downloads, saves and loads text-to-image models as diffusers pipelines."""

from pathlib import Path
from typing import Any

import torch

from dpmix.errors import DataError, one_line
from dpmix.hub import refusal, whole
from dpmix.network import full_disk
from dpmix.seals import check_folder, sealed_directory


def fetch_model(model: str, out: Path, revision: str | None = None) -> None:
    """Download a text-to-image model from the Hugging Face hub into the folder `out`, which `synthesize` reads.

    Args:
        model: a repository such as `CompVis/stable-diffusion-v1-4`; or a folder in diffusers' format, which is copied.
        out: the folder to write, whole or not at all.
        revision: commit of the repository; None is its main branch.

    Raises:
        DataError: if the model cannot be read or downloaded, or has no safetensors.
    """
    pipeline = load_pipeline(model, revision, "default", torch.device("cpu"), torch.float32)
    save_model(pipeline, out)


def save_model(pipeline: Any, out: Path) -> None:
    """Write a diffusers pipeline to the folder `out`, whole or not at all."""
    with sealed_directory(Path(out)) as folder:
        pipeline.save_pretrained(folder, safe_serialization=True)
        mode = folder.stat().st_mode & 0o666
        for file in folder.rglob("*.safetensors"):  # saved readable by their owner alone
            file.chmod(mode)


def load_pipeline(
    model: str | Path, revision: str | None, scheduler: str, device: torch.device, dtype: torch.dtype | None
) -> Any:
    """Load a model as a diffusers pipeline.

    Args:
        model: a folder in diffusers' format, or a repository of the Hugging Face hub.
        revision: commit of the repository; None is its main branch.
        scheduler: one of `dpmix.params.registries.SCHEDULERS`.
        device: where to compute.
        dtype: None is float16 on a GPU and float32 elsewhere.

    Raises:
        DataError: if the model cannot be read or downloaded.
    """
    folder = Path(model).is_dir()
    looks_local = isinstance(model, Path) or str(model).startswith((".", "/", "~")) or str(model).count("/") != 1
    if not folder and looks_local:
        raise DataError(f"there is no model folder {model}; train or download the model first")
    if folder and not (Path(model) / "model_index.json").is_file():
        raise DataError(f"{model} holds no diffusers model (model_index.json is missing); train or download it again")
    if folder:
        check_folder(Path(model))
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    if dtype is None:
        dtype = torch.float16 if device.type == "cuda" else torch.float32
    kind = diffusers.DiffusionPipeline
    try:
        place = Path(model)
        if not folder:
            place = whole(lambda: kind.download(str(model), revision=revision, use_safetensors=True), str(model))
        pipeline = kind.from_pretrained(str(place), use_safetensors=True, dtype=dtype)
        if scheduler != "default":
            pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    except DataError:
        raise
    except Exception as error:  # the libraries below raise their own errors for files, network and formats
        if full_disk(error):
            raise DataError(f"no space left to download {model}; free some and run the same command again") from error
        if folder:
            raise DataError(
                f"the diffusion model {model} could not be loaded ({one_line(error, 160)}); train or download it again"
            ) from error
        reason, remedy = refusal(error, str(model))
        download = f"hf download {model}" + (f" --revision {revision}" if revision else "")
        remedy = remedy or f"on a machine with network run `{download}`, copy it here, and give the folder as the model"
        raise DataError(f"the diffusion model {model} could not be loaded ({reason}); {remedy}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
