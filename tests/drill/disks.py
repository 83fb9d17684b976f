"""Disks that are full or read-only, under each folder that something is written to."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from .case import Case, Harm, Missed
from .place import Done, Place

_BALLAST = ".ballast"


def may_mount() -> bool:
    """Whether this user may mount a disk: the system's administrator may."""
    return os.geteuid() == 0 and subprocess.run(["mount", "--version"], capture_output=True).returncode == 0


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True, capture_output=True)


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """The folder on a small disk of its own that has no room left; afterwards what lies there is in the folder."""
    kept = folder.with_name(f"{folder.name}.kept")
    folder.mkdir(parents=True, exist_ok=True)
    folder.rename(kept)
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder))
    shutil.copytree(kept, folder, dirs_exist_ok=True, symlinks=True)
    with (folder / _BALLAST).open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(2**20))
    try:
        yield
    finally:
        (folder / _BALLAST).unlink()
        shutil.rmtree(kept)
        shutil.copytree(folder, kept, symlinks=True)
        _unmount(folder)
        folder.rmdir()
        kept.rename(folder)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder as a disk that nobody may write to, the administrator neither."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        _unmount(folder)


DISKS = {"full": full_disk, "read-only": read_only}


def without_room(kind: str, where: str, disk: str) -> Harm:
    """A harm: all artefacts of a kind and the table are to be made again, and the folder they go to is no good.

    Args:
        kind: of artefacts, or "" for the table alone.
        where: the folder; `{scale}` stands for the scale's name.
        disk: "full" or "read-only".
    """

    def harm(place: Place, random: Random) -> Done | None:
        if not may_mount():
            raise Missed
        for path in place.made_for_target(kind) if kind else ():
            shutil.rmtree(path.parent) if kind not in ("PlanFile", "Selection") else path.unlink()
        # What is made from these is made again with them.
        if kind:
            place.remove_runs(random, 0.0)
        place.remove_table()
        with DISKS[disk](place.folder / where.format(scale=place.catalogue.scale)):
            return place.run(Case("", "", harm).spelled(place))

    return harm


PLACES = {
    "images": ("ImageStore", "data/images"),
    "an encoder": ("EncoderModel", "data/encoders"),
    "a text-to-image model": ("DiffusionModel", "data/diffusion"),
    "D": ("SyntheticSet", "data/synthetic"),
    "D, decoded": ("SyntheticStore", "data/images"),
    "plans": ("PlanFile", "results/{scale}/plans"),
    "selections": ("Selection", "results/{scale}/selections"),
    "runs": ("Experiment", "results/{scale}/runs"),
    "zero-shot": ("ZeroShot", "results/{scale}/runs"),
    "a table": ("", "results/{scale}/tables"),
    "stamps": ("", "results/{scale}/stamps"),
    "logs": ("", "logs"),
    "Snakemake's records": ("", ".snakemake"),
}


def _cases(disk: str, names: list[str]) -> list[Case]:
    return [Case(f"disk {disk}", name, without_room(*PLACES[name], disk)) for name in names]


CASES = [*_cases("full", list(PLACES)), *_cases("read-only", ["plans", "runs", "a table", "Snakemake's records"])]
CASES.append(Case("disk read-only", "all results", without_room("", "results", "read-only")))
