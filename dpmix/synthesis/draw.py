"""Draws D: class-balanced samples of a public text-to-image diffusion model (section 3.1 of the paper)."""

import hashlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dpmix.data.class_names import prompt_names
from dpmix.errors import DataError, ParamsError, one_line, suggestion
from dpmix.files import atomic_file
from dpmix.params.registries import SCHEDULERS
from dpmix.random import key_of
from dpmix.seals import read_record
from dpmix.synthesis.folder import append_lines, finish_set, finished_images, image_file, start_set
from dpmix.synthesis.pipeline import load_pipeline

MAX_REDRAWS = 20


def synthesize(
    model: str | Path,
    classes: Sequence[str],
    count: int,
    out: Path,
    *,
    prompt: str = "a photo of a {}",
    guidance_scale: float = 1.0,
    steps: int = 25,
    resolution: int = 512,
    scheduler: str = "DPMSolverMultistepScheduler",
    seed: int = 0,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    revision: str | None = None,
    saved_resolution: int | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Draw `count` images, of each class the same number or one less, into the folder `out`.

    Image i shows class i mod len(classes). Its initial noise is drawn on the CPU from the key (seed, i, redraw), so
    that it does not depend on batch size, device or interruptions, and a larger `count` only adds images.
    An image that the model's safety checker rejects is drawn again with the next `redraw`.

    Args:
        model: a folder in diffusers' format, or a repository of the Hugging Face hub. Only safetensors are read.
        classes: class names; each is the name of a folder, and, in the words of `prompt_names`, part of a caption.
        count: images in all.
        out: the folder to write. If it holds images of the same set, only images that are missing or changed are drawn.
        prompt: the caption, with {} for the class name.
        guidance_scale: classifier-free guidance; 1 is none, the paper's "unguided diffusion".
        steps: denoising steps.
        resolution: side in pixels at which the model paints, a multiple of 8.
        scheduler: one of `dpmix.params.registries.SCHEDULERS`.
        seed: 0 <= seed < 2**32.
        batch_size: images at a time.
        device: where to compute.
        revision: commit of the hub repository; None is its main branch.
        saved_resolution: side in pixels of the saved images if smaller than `resolution`.
        dtype: None is float16 on a GPU and float32 elsewhere.

    Raises:
        ParamsError: for impossible settings, or settings that differ from those of the images already in `out`.
        DataError: if the model cannot be read or downloaded, or its safety checker rejects every image of a caption.
        DpmixError: if the disk is full or not writable.
    """
    if isinstance(classes, str):
        raise ParamsError(f"classes are a sequence of names, not the text {classes!r}; write [{classes!r}]")
    out, classes = Path(out), tuple(classes)
    _check(classes, count, prompt, steps, resolution, scheduler, batch_size, saved_resolution)
    settings = {
        "model": str(model),
        "revision": revision,
        "classes": list(classes),
        "prompt": prompt,
        "guidance_scale": float(guidance_scale),
        "steps": steps,
        "resolution": resolution,
        "saved_resolution": saved_resolution or resolution,
        "scheduler": scheduler,
        "seed": seed,
    }
    done = finished_images(out, settings, count)
    if (out / "manifest.json").is_file() and read_record(out / "manifest.json")["count"] == count == len(done):
        return
    waiting = [(index, 0) for index in range(count) if index not in done]
    # Before anything is written, so that a misspelt model leaves nothing behind.
    pipeline = load_pipeline(model, revision, scheduler, torch.device(device), dtype) if waiting else None
    start_set(out, settings, done)
    spoken = prompt_names(classes)
    interval = 0.2 if sys.stderr.isatty() else 30.0  # seconds; a log file needs a line now and then
    with tqdm(total=count, initial=len(done), desc="synthesizing", unit="image", mininterval=interval) as bar:
        while waiting:
            batch, waiting = waiting[:batch_size], waiting[batch_size:]
            captions = [prompt.format(spoken[index % len(classes)]) for index, _ in batch]
            seeds = [image_seed(seed, index, redraw) for index, redraw in batch]
            images, rejected = _sample(pipeline, captions, seeds, guidance_scale, steps, resolution)
            lines, again = [], []
            for (index, redraw), caption, drawn, image, replaced in zip(
                batch, captions, seeds, images, rejected, strict=True
            ):
                if replaced and redraw == MAX_REDRAWS:
                    raise DataError(
                        f"the safety checker of {model} rejected {redraw + 1} images of {caption!r} in a row; "
                        "change the prompt or the class's name"
                    )
                if replaced:
                    again.append((index, redraw + 1))
                    continue
                name = image_file(classes, index)
                line = {
                    "index": index,
                    "file": name,
                    "label": index % len(classes),
                    "prompt": caption,
                    "seed": drawn,
                    "model": str(model),
                    "revision": revision,
                    "safety_redraws": redraw,
                    "sha256": _save(image, out / name, saved_resolution),
                }
                lines.append(line)
                done[index] = line
            append_lines(out / "manifest.jsonl", lines)
            bar.update(len(lines))
            waiting = again + waiting
    finish_set(out, settings, [done[index] for index in range(count)])


def image_seed(seed: int, index: int, redraw: int) -> int:
    """The seed of one image of D, in [0, 2**32), different for every image and redraw of a set.

    A key of the set plus a running number: torch uses 32 bits of a seed, and hashes of 32 bits would soon collide.

    Args:
        seed: of the set.
        index: of the image.
        redraw: how often the safety checker has rejected the image.
    """
    return (key_of(32, seed, "synthesis") + index * (MAX_REDRAWS + 1) + redraw) % 2**32


def _check(
    classes: tuple[str, ...],
    count: int,
    prompt: str,
    steps: int,
    resolution: int,
    scheduler: str,
    batch_size: int,
    saved_resolution: int | None,
) -> None:
    if not classes:
        raise ParamsError("there are no class names; give one for each class that D is to show")
    if twice := [name for name in classes if list(classes).count(name) > 1]:
        raise ParamsError(f"the class name {twice[0]!r} is there twice; rename or remove one")
    for name in classes:
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise ParamsError(f"class {name!r} cannot name a folder; rename it")
    if "{}" not in prompt:
        raise ParamsError(f"the prompt {prompt!r} does not name the class; write {{}} where the name goes")
    if scheduler not in SCHEDULERS:
        raise ParamsError(f"no scheduler is called {scheduler!r}; {suggestion(scheduler, SCHEDULERS)}")
    if resolution < 8 or resolution % 8:
        raise ParamsError(
            f"resolution {resolution} is not a multiple of 8 pixels; choose {max(8, round(resolution / 8) * 8)}"
        )
    if saved_resolution is not None and not 0 < saved_resolution <= resolution:
        raise ParamsError(f"saved_resolution {saved_resolution} is not between 1 and {resolution}; choose one that is")
    for name, value in (("count", count), ("steps", steps), ("batch_size", batch_size)):
        if value < 1:
            raise ParamsError(f"{name} {value} is below 1; raise it")


def _sample(
    pipeline: Any, captions: list[str], seeds: list[int], guidance_scale: float, steps: int, resolution: int
) -> tuple[list[Any], list[bool]]:
    """One batch: PIL images, and which of them the safety checker replaced."""
    try:
        result = pipeline(
            captions,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            height=resolution,
            width=resolution,
            generator=[torch.Generator().manual_seed(each) for each in seeds],
        )
    except torch.OutOfMemoryError as error:
        raise ParamsError(f"{len(captions)} images at a time do not fit in memory; lower batch_size") from error
    except (TypeError, ValueError) as error:
        reason = one_line(error, 200)
        raise ParamsError(f"the diffusion model refuses these settings ({reason}); change them") from error
    flagged = getattr(result, "nsfw_content_detected", None)
    return list(result.images), [bool(each) for each in flagged] if flagged else [False] * len(captions)


def _save(image: Any, path: Path, side: int | None) -> str:
    """Write a PIL image as PNG, at most `side` pixels a side, whole or not at all; return the file's SHA-256."""
    from PIL import Image

    image = image.convert("RGB")
    if side is not None and image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()
