"""Draws D: class-balanced samples of a public text-to-image diffusion model (section 3.1 of the paper)."""

import hashlib
import io
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
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
    saved = resolution if saved_resolution is None else saved_resolution
    wanted = _Set(
        str(model), revision, tuple(classes), prompt, float(guidance_scale), steps, resolution, saved, scheduler, seed
    )
    for name, value in (("count", count), ("batch_size", batch_size)):
        if value < 1:
            raise ParamsError(f"{name} {value} is below 1; raise it")
    out = Path(out)
    done = finished_images(out, wanted.settings(), count)
    if (out / "manifest.json").is_file() and read_record(out / "manifest.json")["count"] == count == len(done):
        return
    waiting = [(index, 0) for index in range(count) if index not in done]
    # Before anything is written, so that a misspelt model leaves nothing behind.
    pipeline = load_pipeline(model, revision, scheduler, torch.device(device), dtype) if waiting else None
    start_set(out, wanted.settings(), done)
    interval = 0.2 if sys.stderr.isatty() else 30.0  # seconds; a log file needs a line now and then
    with tqdm(total=count, initial=len(done), desc="synthesizing", unit="image", mininterval=interval) as bar:
        while waiting:
            lines, again = _draw(pipeline, wanted, waiting[:batch_size], out)
            append_lines(out / "manifest.jsonl", lines)
            done |= {line["index"]: line for line in lines}
            bar.update(len(lines))
            waiting = again + waiting[batch_size:]
    finish_set(out, wanted.settings(), [done[index] for index in range(count)])


@dataclass(frozen=True)
class _Set:
    """What determines the images of a set: the arguments of `synthesize` of these names."""

    model: str
    revision: str | None
    classes: tuple[str, ...]
    prompt: str
    guidance_scale: float
    steps: int
    resolution: int
    saved_resolution: int
    scheduler: str
    seed: int

    def __post_init__(self) -> None:
        if not self.classes:
            raise ParamsError("there are no class names; give one for each class that D is to show")
        if twice := [name for name in self.classes if self.classes.count(name) > 1]:
            raise ParamsError(f"the class name {twice[0]!r} is there twice; rename or remove one")
        for name in self.classes:
            if any(part in ("", ".", "..") for part in name.split("/")):
                raise ParamsError(f"class {name!r} cannot name a folder; rename it")
        if "{}" not in self.prompt:
            raise ParamsError(f"the prompt {self.prompt!r} does not name the class; write {{}} where the name goes")
        if self.scheduler not in SCHEDULERS:
            raise ParamsError(f"no scheduler is called {self.scheduler!r}; {suggestion(self.scheduler, SCHEDULERS)}")
        if self.resolution < 8 or self.resolution % 8:
            nearest = max(8, round(self.resolution / 8) * 8)
            raise ParamsError(f"resolution {self.resolution} is not a multiple of 8 pixels; choose {nearest}")
        if not 0 < self.saved_resolution <= self.resolution:
            raise ParamsError(
                f"saved_resolution {self.saved_resolution} is not between 1 and {self.resolution}; choose one that is"
            )
        if self.steps < 1:
            raise ParamsError(f"steps {self.steps} is below 1; raise it")

    def settings(self) -> dict[str, Any]:
        """As plain JSON values, for `settings.json`."""
        return {**asdict(self), "classes": list(self.classes)}

    @cached_property
    def captions(self) -> list[str]:
        """That of each class."""
        return [self.prompt.format(name) for name in prompt_names(self.classes)]


def _draw(
    pipeline: Any, wanted: _Set, batch: Sequence[tuple[int, int]], out: Path
) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
    """Draw images together, and write those that the safety checker lets through.

    Args:
        pipeline: of diffusers.
        wanted: the set.
        batch: of each image its index, and how often it was drawn before.
        out: the set's folder.

    Returns:
        The manifest lines of the images written, and those that are to be drawn again, as in `batch`.
    """
    labels = [index % len(wanted.classes) for index, _ in batch]
    captions = [wanted.captions[label] for label in labels]
    seeds = [image_seed(wanted.seed, index, redraw) for index, redraw in batch]
    how = (wanted.guidance_scale, wanted.steps, wanted.resolution)
    images, rejected = _sample(pipeline, captions, seeds, *how)
    lines: list[dict[str, Any]] = []
    again = []
    for at, (index, redraw) in enumerate(batch):
        if rejected[at] and redraw == MAX_REDRAWS:
            raise DataError(
                f"the safety checker of {wanted.model} rejected {redraw + 1} images of {captions[at]!r} in a row; "
                "change the prompt or the class's name"
            )
        if rejected[at]:
            again.append((index, redraw + 1))
            continue
        name = image_file(wanted.classes, index)
        lines.append(
            {
                "index": index,
                "file": name,
                "label": labels[at],
                "prompt": captions[at],
                "seed": seeds[at],
                "model": wanted.model,
                "revision": wanted.revision,
                "safety_redraws": redraw,
                "sha256": _save(images[at], out / name, wanted.saved_resolution),
            }
        )
    return lines, again


def image_seed(seed: int, index: int, redraw: int) -> int:
    """The seed of one image of D, in [0, 2**32), different for every image and redraw of a set.

    A key of the set plus a running number: torch uses 32 bits of a seed, and hashes of 32 bits would soon collide.

    Args:
        seed: of the set.
        index: of the image.
        redraw: how often the safety checker has rejected the image.
    """
    return (key_of(32, seed, "synthesis") + index * (MAX_REDRAWS + 1) + redraw) % 2**32


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


def _save(image: Any, path: Path, side: int) -> str:
    """Write a PIL image as PNG, `side` pixels a side, whole or not at all; return the file's SHA-256."""
    from PIL import Image

    image = image.convert("RGB")
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()
