"""The synthetic set D: class-balanced text-to-image samples of a public diffusion model (Section 3.1 of the paper).

A set is a folder that can be interrupted and resumed at any image:

    <class>/<index>.png    image `index` shows class `index mod len(classes)`; the folder is named as the class is
    manifest.jsonl         a line per image: prompt, seed, redraws, SHA-256; appended as images are made
    settings.json          what determines the images; a folder is resumed with equal settings only
    manifest.json          count and digest of the whole set; written last, so a set without it is not finished
"""

import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from dpmix.errors import DataError, DpmixError, ParamsError
from dpmix.files import atomic_directory, atomic_file, read_json, write_json, write_text
from dpmix.network import full_disk, retried
from dpmix.progress import progress
from dpmix.random import key_of

# Names of diffusers' classes; "default" keeps the one that the model was saved with.
SCHEDULERS = (
    "default",
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)

MAX_REDRAWS = 20


@dataclass(frozen=True)
class SyntheticSet:
    """A finished set: `paths[i]` shows class `classes[labels[i]]`."""

    paths: tuple[Path, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    digest: str


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
    """Sample `count` images, as nearly equal in number per class as can be, into the folder `out`.

    Image i shows class i mod len(classes) and starts from noise keyed by (seed, i, redraw), drawn on the CPU. So
    neither the batch size, nor the device, nor an interruption changes which noise an image gets, and a larger count
    extends a set that is there.
    An image that the model's safety checker replaced by a black one is drawn again with the next redraw.

    Args:
        model: a folder in diffusers' format, or a repository of the Hugging Face hub. Only safetensors are read.
        classes: class names; each names a folder, and, as `spoken` says it, the caption.
        count: images in all.
        out: the folder; resumed if it holds a part of the same set, left alone if it holds all of it. An image that is
            missing, or another than was made, is made again.
        prompt: the caption, with {} for the class name.
        guidance_scale: classifier-free guidance; 1 is none, the paper's "unguided diffusion".
        steps: denoising steps.
        resolution: side in pixels at which the model paints, a multiple of 8.
        scheduler: one of `SCHEDULERS`.
        seed: 0 <= seed < 2**32.
        batch_size: images at a time.
        device: where to compute.
        revision: commit of the hub repository; None is its main branch.
        saved_resolution: side in pixels of the saved images if smaller than `resolution`.
        dtype: None is float16 on a GPU and float32 elsewhere.

    Raises:
        ParamsError: settings that no model can meet, or that differ from those of the set already in `out`.
        DataError: the model cannot be read or downloaded, or its safety checker rejects every image of a prompt.
        DpmixError: the disk is full or not writable.
    """
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
    done = _resume(out, settings, count)
    if (out / "manifest.json").is_file() and read_json(out / "manifest.json")["count"] == count == len(done):
        return
    (out / "manifest.json").unlink(missing_ok=True)
    waiting = [(index, 0) for index in range(count) if index not in done]
    pipeline = _load(model, revision, scheduler, torch.device(device), dtype) if waiting else None
    interval = 0.2 if sys.stderr.isatty() else 30.0  # seconds; a log file needs a line now and then
    with tqdm(total=count, initial=len(done), desc="synthesizing", unit="image", mininterval=interval) as bar:
        while waiting:
            batch, waiting = waiting[:batch_size], waiting[batch_size:]
            captions = [prompt.format(spoken(classes[index % len(classes)])) for index, _ in batch]
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
                name = _file(classes, index)
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
            _append(out / "manifest.jsonl", lines)
            bar.update(len(lines))
            waiting = again + waiting
    _finish(out, settings, [done[index] for index in range(count)])


def image_seed(seed: int, index: int, redraw: int) -> int:
    """The seed of one image of D, in [0, 2**32): another one for every image and redraw of a set.

    Counted on from a key of the set, because torch reads 32 bits of a seed, of which hashes would soon collide.
    """
    return (key_of(32, seed, "synthesis") + index * (MAX_REDRAWS + 1) + redraw) % 2**32


def gather(source: Path, classes: Sequence[str], count: int, out: Path) -> None:
    """Make a set D of public images that are there already: copy them into the folder `out`, whole or not at all.

    Args:
        source: class folders on disk or in a zip archive, one for each class, named as it is or as `readable` makes it.
        classes: the private data set's classes.
        count: how many images there are, which the params state because D's size is a part of its description.
        out: the folder to write; one that is there is replaced.

    Raises:
        DataError: for a class without images, a folder of no class, two folders or classes that `readable` makes one,
            another number of images, or a file that cannot be read.
    """
    from dpmix.archives import readable
    from dpmix.datasets import class_files

    folders = class_files(source)
    for what, names in ((f"{source} has folders", list(folders)), ("the data set has classes", list(classes))):
        by_words: dict[str, str] = {}
        for name in names:
            if (other := by_words.setdefault(readable(name), name)) != name:
                raise DataError(f"{what} {other!r} and {name!r}, which both read {readable(name)!r}; rename one")
    given = {readable(name): files for name, files in folders.items()}
    wanted = [readable(name) for name in classes]
    for name in wanted:
        if name not in given:
            raise DataError(f"{source} has no images of class {name!r}; add a folder of them")
    if strange := sorted(set(given) - set(wanted)):
        raise DataError(f"{source} has a folder {strange[0]!r}, which is no class of this data set; remove it")
    found = sum(map(len, given.values()))
    if found != count:
        raise DataError(f"{source} holds {found} images, not {count}; give their number under synthetic_size")
    lines: list[dict[str, Any]] = []
    with atomic_directory(Path(out)) as folder:
        for label, (name, readable_name) in enumerate(zip(classes, wanted, strict=True)):
            (folder / name).mkdir(parents=True)
            for file in given[readable_name]:
                content = file.read()
                # Names of our own: those in an archive are anybody's.
                written = f"{name}/{len(lines):06d}{file.path.suffix.lower()}"
                (folder / written).write_bytes(content)
                line = {"index": len(lines), "file": written, "label": label, "safety_redraws": 0}
                lines.append({**line, "sha256": hashlib.sha256(content).hexdigest()})
        _finish(folder, {"images": str(source), "classes": list(classes)}, lines)


def fetch_model(model: str, out: Path, revision: str | None = None) -> None:
    """Download a text-to-image model from the Hugging Face hub into the folder `out`, for `synthesize` to read.

    Args:
        model: a repository such as `CompVis/stable-diffusion-v1-4`; or a folder in diffusers' format, which is copied.
        out: the folder to write, whole or not at all.
        revision: commit of the repository; None is its main branch.

    Raises:
        DataError: the model cannot be read or downloaded, or has no safetensors.
    """
    pipeline = _load(model, revision, "default", torch.device("cpu"), torch.float32)
    save_model(pipeline, out)


def save_model(pipeline: Any, out: Path) -> None:
    """Write a diffusers pipeline to the folder `out`, whole or not at all."""
    with atomic_directory(Path(out)) as folder:
        pipeline.save_pretrained(folder, safe_serialization=True)
        mode = folder.stat().st_mode & 0o666
        for file in folder.rglob("*.safetensors"):  # saved readable by their owner alone
            file.chmod(mode)


def load_synthetic(out: Path) -> SyntheticSet:
    """Read the index of a finished set and hold every image against the SHA-256 that it had when it was made.

    Raises:
        DataError: if the set is unfinished, or an image is missing or another than its manifest lists.
    """
    out = Path(out)
    summary = out / "manifest.json"
    if not summary.is_file():
        raise DataError(f"{out} holds no finished synthetic set (manifest.json is missing); run the synthesis again")
    try:
        manifest = read_json(summary)
        lines = sorted(_journal(out), key=lambda line: int(line["index"]))
        paths = tuple(out / str(line["file"]) for line in lines)
        classes, digest = tuple(manifest["classes"]), str(manifest["digest"])
        # By the folder, which the digest covers.
        labels = np.array([classes.index(Path(line["file"]).parent.as_posix()) for line in lines], dtype=np.int64)
        whole = len(lines) == manifest["count"] and _digest(lines) == digest
    except (KeyError, TypeError, ValueError) as error:
        raise _not_whole(out, f"its manifest lacks what it should say ({error})") from error
    if not whole:
        raise _not_whole(out, "manifest.jsonl does not match manifest.json")
    for path, line in zip(paths, progress(lines, f"checking {out.name}", "image"), strict=True):
        if not path.is_file():
            raise _not_whole(out, f"{path} is missing")
        if not _intact(out, line):
            raise _not_whole(out, f"{path} is not the image that was made (its SHA-256 is another)")
    return SyntheticSet(paths, labels, classes, digest)


def _not_whole(out: Path, what: str) -> DataError:
    return DataError(
        f"{out} is not whole: {what}; delete {out / 'manifest.json'} and run the same command again, which makes the "
        "images anew that are missing or damaged"
    )


def _intact(out: Path, line: Mapping[str, Any]) -> bool:
    """Whether an image is on disk as it was when its line was written."""
    path = out / str(line["file"])
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == line["sha256"]


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
    if not classes or len(set(classes)) != len(classes):
        raise ParamsError("class names must be given and differ from each other")
    for name in classes:
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise ParamsError(f"class {name!r} cannot name a folder; rename it")
    if "{}" not in prompt:
        raise ParamsError(f"the prompt {prompt!r} does not name the class; write {{}} where the name goes")
    if scheduler not in SCHEDULERS:
        raise ParamsError(f"no scheduler is called {scheduler!r}; choose one of {', '.join(SCHEDULERS)}")
    if resolution < 8 or resolution % 8:
        raise ParamsError(f"resolution must be a multiple of 8 pixels, not {resolution}")
    if saved_resolution is not None and not 0 < saved_resolution <= resolution:
        raise ParamsError(f"saved_resolution must be between 1 and {resolution}, not {saved_resolution}")
    for name, value in (("count", count), ("steps", steps), ("batch_size", batch_size)):
        if value < 1:
            raise ParamsError(f"{name} must be at least 1, not {value}")


def spoken(name: str) -> str:
    """A class name as a caption says it: "AnnualCrop", "101.annual-crop" and "annual_crop" are "annual crop"."""
    name = re.sub(r"^\d+\.", "", name)  # Caltech-256 numbers its folders
    name = re.sub(r"-101$", "", name)  # and marks those taken over from Caltech-101
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # EuroSAT writes in camel case
    return re.sub(r"[\s_/-]+", " ", name).strip().lower() or name


def _resume(out: Path, settings: dict[str, Any], count: int) -> dict[int, dict[str, Any]]:
    """The images already in `out`, by index, after making sure that they belong to the same set."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    for leftover in out.rglob(".[0-9]*-*.png"):  # what a killed process was writing
        leftover.unlink(missing_ok=True)
    expected = {_file(settings["classes"], index) for index in range(count)}
    strangers = (path for path in out.rglob("*.png") if path.relative_to(out).as_posix() not in expected)
    if (stranger := next(strangers, None)) is not None:
        raise ParamsError(f"{stranger} is no part of the {count} images asked for; delete it or choose another folder")
    done = {int(line["index"]): line for line in _journal(out) if _intact(out, line)}
    if done:
        before = read_json(out / "settings.json")
        changed = [key for key in settings if before.get(key) != settings[key]]
        if changed:
            raise ParamsError(f"{out} holds images of another {changed[0]}; delete it or choose another folder")
    else:
        write_json(out / "settings.json", settings)
    # What a crash cut short is dropped, lest the next line be appended to it.
    write_text(out / "manifest.jsonl", _jsonl([done[index] for index in sorted(done)]))
    return done


def _file(classes: Sequence[str], index: int) -> str:
    return f"{classes[index % len(classes)]}/{index:06d}.png"


def _journal(out: Path) -> list[dict[str, Any]]:
    path = out / "manifest.jsonl"
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue  # cut short by a crash: the image is drawn again
    return lines


def _append(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    try:
        with path.open("a", encoding="utf-8") as journal:
            journal.write(_jsonl(lines))
    except OSError as error:
        raise _unwritable(path, error) from error


def _jsonl(lines: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)


def _digest(lines: Sequence[dict[str, Any]]) -> str:
    return hashlib.sha256("".join(f"{line['file']} {line['sha256']}\n" for line in lines).encode()).hexdigest()


def _finish(out: Path, settings: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    write_text(out / "manifest.jsonl", _jsonl(lines))
    summary = {
        **settings,
        "count": len(lines),
        "digest": _digest(lines),
        "safety_redraws": sum(line["safety_redraws"] for line in lines),
    }
    write_json(out / "manifest.json", summary)


def _load(
    model: str | Path, revision: str | None, scheduler: str, device: torch.device, dtype: torch.dtype | None
) -> Any:
    """The model as a diffusers pipeline on `device`; anything wrong with it is one `DataError`."""
    folder = Path(model).is_dir()
    looks_local = isinstance(model, Path) or str(model).startswith((".", "/", "~")) or str(model).count("/") != 1
    if not folder and looks_local:
        raise DataError(f"there is no model folder {model}; train or download the model first")
    if folder and not (Path(model) / "model_index.json").is_file():
        raise DataError(f"{model} holds no diffusers model (model_index.json is missing); train or download it again")
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    if dtype is None:
        dtype = torch.float16 if device.type == "cuda" else torch.float32
    try:
        pipeline = retried(
            lambda: diffusers.DiffusionPipeline.from_pretrained(
                str(model), revision=revision, use_safetensors=True, dtype=dtype
            ),
            str(model),
        )
        if scheduler != "default":
            pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    except Exception as error:  # the libraries below raise their own errors for files, network and formats
        if full_disk(error):
            raise DataError(f"no space left to download {model}; free some and run the same command again") from error
        reason = " ".join(str(error).split())[:160]
        download = f"hf download {model}" + (f" --revision {revision}" if revision else "")
        remedy = (
            "train or download it again"
            if folder
            else f"on a machine with network run `{download}`, copy it here, and give the folder as the model"
        )
        raise DataError(f"the diffusion model {model} could not be loaded ({reason}); {remedy}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


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
        reason = " ".join(str(error).split())[:200]
        raise ParamsError(f"the diffusion model refuses these settings ({reason}); change them") from error
    flagged = getattr(result, "nsfw_content_detected", None)
    return list(result.images), [bool(each) for each in flagged] if flagged else [False] * len(captions)


def _save(image: Any, path: Path, side: int | None) -> str:
    """Write a PIL image as PNG, whole or not at all; its SHA-256."""
    from PIL import Image

    image = image.convert("RGB")
    if side is not None and image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def _unwritable(path: Path, error: OSError) -> DpmixError:
    reason = error.strerror or os.strerror(error.errno or 0)
    return DpmixError(f"cannot write {path}: {reason}; free space or choose another folder")
