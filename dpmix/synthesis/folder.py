"""The synthetic set D as a folder; drawing it can be interrupted after any image, and resumed.

<class>/<index>.png    image `index` shows class `index mod len(classes)`; the folder is named as `folder_names` does
manifest.jsonl         a line per image: prompt, seed, redraws, SHA-256; appended as images are made
settings.json          what determines the images; a folder is resumed with equal settings only
manifest.json          count and digest of the whole set; written last, so a set without it is not finished
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpmix.data import origin
from dpmix.data.class_names import folder_names, matched
from dpmix.errors import DataError, DpmixError, ParamsError, one_line
from dpmix.files import atomic_directory, write_text
from dpmix.progress import progress
from dpmix.seals import FILES, file_digest, read_record, write_record


@dataclass(frozen=True)
class SyntheticFolder:
    """A finished set D on disk.

    Attributes:
        paths: the image files.
        labels: int64 [len(paths)], indices into `classes`.
        classes: the names of the classes.
        digest: a hash of all images.
    """

    paths: tuple[Path, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    digest: str


def gather(
    source: Path,
    classes: Sequence[str],
    count: int,
    out: Path,
    *,
    skip_damaged: bool = False,
    leave_out: str = "leave out by skip_damaged: true, and correct synthetic_size",
) -> None:
    """Make D of public images that exist already: copy them into the folder `out`, whole or not at all.

    Args:
        source: a folder, zip archive or table of images, as a private data set may be. Its classes are those of the
            data set by `dpmix.data.class_names.matched`.
        classes: the private data set's classes.
        count: how many images there must be; the params state |D| because results depend on it.
        out: the folder to write. If it exists, it is replaced.
        skip_damaged: whether to leave out images that cannot be read.
        leave_out: how to do so, for messages.

    Raises:
        DataError: for a class without images, images of no class, names that leave open which class is meant, another
            number of images, or files that cannot be read.
    """
    from dpmix.data.folders import class_files, part_of_files
    from dpmix.data.inspection import damaged_in, refuse_damaged

    folders = class_files(source, skip_damaged=skip_damaged)
    numbers = matched(list(folders), classes, str(source))
    given = {numbers[name]: files for name, files in folders.items()}
    if missing := [name for number, name in enumerate(classes) if number not in given]:
        raise DataError(f"{source} has no images of class {missing[0]!r}; add a folder of them")
    found = sum(map(len, given.values()))
    if found != count:
        raise DataError(f"{source} holds {found} images, not {count}; give their number under synthetic_size")
    if not skip_damaged:
        part = part_of_files([file for files in given.values() for file in files], np.zeros(found))
        refuse_damaged(damaged_in(part), leave_out)
    lines: list[dict[str, Any]] = []
    with atomic_directory(Path(out)) as folder:
        for label, name in enumerate(folder_names(classes)):
            (folder / name).mkdir(parents=True)
            for file in given[label]:
                content = file.read()
                # Files get new names, because those in an archive may be malicious.
                written = f"{name}/{len(lines):06d}{file.path.suffix.lower()}"
                (folder / written).write_bytes(content)
                line = {"index": len(lines), "file": written, "label": label, "safety_redraws": 0}
                lines.append({**line, "sha256": hashlib.sha256(content).hexdigest()})
        finish_set(folder, {"images": str(source), "classes": list(classes)}, lines)
        origin.note(folder, source)


def load_synthetic(out: Path) -> SyntheticFolder:
    """Read a finished set, and check the SHA-256 of every image against its manifest.

    Raises:
        DataError: if the set is not finished, or an image is missing or has changed.
    """
    out = Path(out)
    summary = out / "manifest.json"
    if not summary.is_file():
        raise DataError(f"{out} holds no finished synthetic set (manifest.json is missing); run the synthesis again")
    try:
        manifest = read_record(summary)
        lines = sorted(_journal(out), key=lambda line: int(line["index"]))
        paths = tuple(out / str(line["file"]) for line in lines)
        classes, digest = tuple(manifest["classes"]), str(manifest["digest"])
        # From the names of folders rather than the field `label`, because the digest covers the former only.
        labels_of = {name: label for label, name in enumerate(folder_names(classes))}
        labels = np.array([labels_of[Path(line["file"]).parent.as_posix()] for line in lines], dtype=np.int64)
        whole = len(lines) == manifest["count"] and _digest(lines) == digest
        whole &= manifest.get(FILES) in (None, digests(out))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _not_whole(out, f"its manifest lacks what it should say ({one_line(error)})") from error
    if not whole:
        raise _not_whole(out, "manifest.jsonl does not match manifest.json")
    for path, line in zip(paths, progress(lines, f"checking {out.name}", "image"), strict=True):
        if not path.is_file():
            raise _not_whole(out, f"{path} is missing")
        if not _intact(out, line):
            raise _not_whole(out, f"{path} is not the image that was made (its SHA-256 is another)")
    return SyntheticFolder(paths, labels, classes, digest)


def _not_whole(out: Path, what: str) -> DataError:
    return DataError(
        f"{out} is not whole: {what}; delete {out / 'manifest.json'} and run the same command again, which makes the "
        "images anew that are missing or damaged"
    )


def _intact(out: Path, line: Mapping[str, Any]) -> bool:
    """Whether the image of a manifest line exists and has the SHA-256 of that line."""
    path = out / str(line["file"])
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == line["sha256"]


def finished_images(out: Path, settings: dict[str, Any], count: int) -> dict[int, dict[str, Any]]:
    """Which images of a set are there already. Nothing is written; what a killed process left half-written is deleted.

    Args:
        out: the folder, which need not exist.
        settings: what determines the images.
        count: images in all.

    Returns:
        The manifest lines of the images that are finished, by index.

    Raises:
        ParamsError: if the folder holds images of other settings, or more images than `count`.
    """
    for leftover in out.rglob(".[0-9]*-*.png"):  # what a killed process was writing
        leftover.unlink(missing_ok=True)
    expected = {image_file(settings["classes"], index) for index in range(count)}
    strangers = (path for path in out.rglob("*.png") if path.relative_to(out).as_posix() not in expected)
    if (stranger := next(strangers, None)) is not None:
        raise ParamsError(f"{stranger} is no part of the {count} images asked for; delete it or choose another folder")
    done = {int(line["index"]): line for line in _journal(out) if _intact(out, line)}
    if done:
        before = read_record(out / "settings.json", f"delete {out} and run the same command again")
        changed = [key for key in settings if before.get(key) != settings[key]]
        if changed:
            raise ParamsError(f"{out} holds images of another {changed[0]}; delete it or choose another folder")
    return done


def start_set(out: Path, settings: dict[str, Any], done: Mapping[int, dict[str, Any]]) -> None:
    """Prepare a folder for drawing the rest of a set, of which `finished_images` gave `done`.

    Raises:
        DpmixError: if the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    (out / "manifest.json").unlink(missing_ok=True)
    if not done:
        write_record(out / "settings.json", settings)
    # Written anew, because after a crash the last line may be incomplete, and the next one would be appended to it.
    write_text(out / "manifest.jsonl", _jsonl([done[index] for index in sorted(done)]))


def image_file(classes: Sequence[str], index: int) -> str:
    """The path of image `index`, relative to the set's folder."""
    return f"{folder_names(tuple(classes))[index % len(classes)]}/{index:06d}.png"


def _journal(out: Path) -> list[dict[str, Any]]:
    path = out / "manifest.jsonl"
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue  # cut short by a crash: the image is drawn again
        if isinstance(line, dict) and isinstance(line.get("index"), int) and {"file", "sha256"} <= set(line):
            lines.append(line)
    return lines


def append_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Append lines to a set's `manifest.jsonl`.

    Raises:
        DpmixError: if the disk is full or not writable.
    """
    try:
        with path.open("a", encoding="utf-8") as journal:
            journal.write(_jsonl(lines))
    except OSError as error:
        raise _unwritable(path, error) from error


def _jsonl(lines: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)


def _digest(lines: Sequence[dict[str, Any]]) -> str:
    return hashlib.sha256("".join(f"{line['file']} {line['sha256']}\n" for line in lines).encode()).hexdigest()


def finish_set(out: Path, settings: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    """Write `manifest.jsonl` and `manifest.json`, by which a set counts as finished."""
    write_text(out / "manifest.jsonl", _jsonl(lines))
    summary = {
        **settings,
        "count": len(lines),
        "digest": _digest(lines),
        "safety_redraws": sum(line["safety_redraws"] for line in lines),
    }
    write_record(out / "manifest.json", {**summary, FILES: digests(out)})


def digests(out: Path) -> dict[str, str]:
    """The digests of a set's `manifest.jsonl`, which has those of the images, and of its settings if they are there."""
    return {name: file_digest(out / name) for name in ("manifest.jsonl", "settings.json") if (out / name).is_file()}


def _unwritable(path: Path, error: OSError) -> DpmixError:
    reason = error.strerror or os.strerror(error.errno or 0)
    return DpmixError(f"cannot write {path}: {reason}; free space or choose another folder")
