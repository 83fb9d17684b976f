"""Writes image stores; `dpmix.data.images` describes their files.

Images are decoded into a folder beside the store, `.<name>.partial`, which is renamed when it is complete. After a
damaged image, a full disk or a crash, the next call continues with the image at which the last one stopped.
"""

import contextlib
import hashlib
import io
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dpmix.data import origin
from dpmix.data.decoding import Part, Pool, decode, part_of_paths
from dpmix.data.inspection import damaged_in, refuse_damaged
from dpmix.errors import DataError, DpmixError
from dpmix.files import lock, read_json, replace_directory, write_json
from dpmix.progress import progress
from dpmix.seals import FILES, digests_of, write_record

_SAVED_AT_A_TIME = 2048


def pack_images(
    paths: Sequence[Path],
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    resolution: int,
    out: Path,
    channels: int = 3,
    source: Path | None = None,
) -> None:
    """Write the image store `out` of a synthetic set D, with the single split `train`.

    Images are sorted by class; those of a class stay in the order given.

    Args:
        paths: the image files.
        labels: int64 [len(paths)], indices into `classes`.
        classes: the private data set's classes in their order, so that labels mean the same in both.
        resolution: R, in pixels.
        out: the folder of the image store. If it exists, it is replaced.
        channels: of the private data set, 1 or 3.
        source: the folder of D, whose change is to be noticed (`dpmix.data.origin`).

    Raises:
        DataError: if an image cannot be read.
    """
    order = np.argsort(labels, kind="stable")
    part = part_of_paths([paths[index] for index in order], labels[order])
    pool = Pool(tuple(classes), {"train": part}, str(out), "", {"source": "synthetic"})
    write_store(Path(out), pool, resolution, channels, "synthetic", source)


def write_store(
    out: Path,
    pool: Pool,
    resolution: int,
    channels: int,
    name: str,
    source: Path | None = None,
    *,
    counted: bool = True,
) -> None:
    """Decode a data set and write its store, whole or not at all.

    Args:
        out: the folder of the store. If it exists, it is replaced.
        pool: the images.
        resolution: R, in pixels.
        channels: C, 1 or 3.
        name: of the data set, for meta.json and the progress bar.
        source: the folder, archive or table of the images, if a change is to be noticed (`dpmix.data.origin`).
        counted: whether the screen may say how many images there are.

    Raises:
        DataError: if images cannot be read, all of which are named, or another process is writing this store.
        DpmixError: if the disk is full or not writable.
    """
    meta = {
        "classes": list(pool.classes),
        "resolution": resolution,
        "channels": channels,
        "sizes": {split: len(part.labels) for split, part in pool.parts.items()},
        "name": name,
        **pool.source,
    }
    with _partial_store(out, meta) as folder:
        if source is not None:
            origin.note(folder, source)
        for split, part in pool.parts.items():
            shape = (channels, resolution, resolution)
            try:
                _write_images(folder / f"{split}_images.npy", part, shape, f"decoding {name}, {split}", counted)
            except DataError:
                # Whoever mends one damaged image would meet the next one only after hours.
                found = [one for each in pool.parts.values() for one in damaged_in(each, counted=counted)]
                refuse_damaged(found, pool.leave_out)
                raise
            np.save(folder / f"{split}_labels.npy", part.labels, allow_pickle=False)
            if part.persons is not None:
                np.save(folder / f"{split}_persons.npy", part.persons, allow_pickle=False)
        for leftover in (*folder.glob("*.progress"), folder / _SETTINGS):
            leftover.unlink()
        arrays = {name: digest for name, digest in digests_of(folder).items() if name.endswith(".npy")}
        write_record(folder / "meta.json", {**meta, FILES: arrays})


_SETTINGS = "settings.json"


@contextlib.contextmanager
def _partial_store(out: Path, settings: Mapping[str, Any]) -> Iterator[Path]:
    """A context with the folder in which `out` is being made. On success it replaces `out`; after an error it stays.

    Files that an earlier call left in it are kept if `settings` are the same, and else deleted. A lock keeps other
    processes out.
    """
    folder = out.with_name(f".{out.name}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as file:
            if not lock(file, wait=False):
                raise DataError(f"another process is making {out}; wait for it, or stop it")
            known = folder / _SETTINGS
            if not (known.is_file() and known.read_text(encoding="utf-8") == json.dumps(settings, sort_keys=True)):
                for old in folder.iterdir():
                    if old.name != ".lock":
                        old.unlink()
                known.write_text(json.dumps(settings, sort_keys=True), encoding="utf-8")
            yield folder
            replace_directory(folder, out)
            (out / ".lock").unlink()
    except OSError as error:
        raise DpmixError(
            f"cannot write {out}: {error.strerror}; free space or choose another folder, and run the same command "
            f"again (what is decoded stays in {folder})"
        ) from error


def _write_images(path: Path, part: Part, shape: tuple[int, int, int], label: str, counted: bool) -> None:
    """Decode a part into the .npy file `path`, uint8 [N, *shape], continuing where an earlier call stopped.

    The file is written, not memory-mapped: on a full disk a write raises an error, while writing to mapped memory would
    kill the process.
    """
    count, size = len(part.labels), math.prod(shape)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)})
    begin = header.tell()
    progress_file = path.with_suffix(".progress")
    done, seen = _decoded_before(progress_file, path, part, begin, size)
    with path.open("r+b" if done else "wb") as file:
        if not done:
            file.write(header.getvalue())
        file.seek(begin + done * size)
        file.truncate()
        if done and counted:
            label = f"{label}, from image {done} of {count}"
        left = decode(part, shape[1], shape[0], done)
        images = iter(progress(left, label, "image", count - done, counted=counted))
        try:
            while done < count:
                for image in itertools.islice(images, _SAVED_AT_A_TIME):
                    stamp = _stamp(part, done)
                    file.write(image.data)
                    seen.update(stamp)
                    done += 1
                _save_progress(file, progress_file, done, seen)
        except BaseException:
            with contextlib.suppress(OSError, DpmixError):
                _save_progress(file, progress_file, done, seen)
            raise


def _save_progress(file: IO[bytes], progress_file: Path, done: int, seen: "hashlib._Hash") -> None:
    """Flush the images to disk, and only then write how many there are."""
    file.flush()
    os.fsync(file.fileno())
    write_json(progress_file, {"images": done, "files": seen.hexdigest()})


def _decoded_before(progress_file: Path, path: Path, part: Part, begin: int, size: int) -> tuple[int, "hashlib._Hash"]:
    """How many images an earlier call decoded into `path`, and a hash of the files that they came from.

    0 if there is no record of it, or one of these files has changed since.
    """
    fresh = (0, hashlib.sha256())
    if part.file is None or not progress_file.is_file() or not path.is_file():
        return fresh
    try:
        before = read_json(progress_file)
        done, files = int(before["images"]), str(before["files"])
    except (DpmixError, KeyError, TypeError, ValueError):
        return fresh
    if not 0 < done <= len(part.labels) or path.stat().st_size < begin + done * size:
        return fresh
    seen = hashlib.sha256()
    for index in range(done):
        seen.update(_stamp(part, index))
    return (done, seen) if seen.hexdigest() == files else fresh


def _stamp(part: Part, index: int) -> bytes:
    """The path and the stamp of an image's file; nothing for an image that is no file."""
    if part.file is None:
        return b""
    path = part.file(index)
    return "\0".join(map(str, (path, *origin.stamp(path, "replace it and run again")))).encode() + b"\n"
