"""A folder that is handed out says on which day it was written, and no file of it says more."""

import os
import shutil
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dpmix.own.model import export
from dpmix.own.model.model_folder import ModelFolder
from tests.own.folders import Made, Written

pytestmark = pytest.mark.filterwarnings("ignore")


def today() -> int:
    """The start of this day, UTC, in ns."""
    return int(datetime.strptime(datetime.now(UTC).strftime("%F %z"), "%Y-%m-%d %z").timestamp()) * 10**9


def times(folder: Path) -> dict[str, int]:
    """The time of change of each file and folder, in ns, by name."""
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


def test_every_file_has_the_time_of_the_day(written: Written, shapes: Made, tmp_path: Path) -> None:
    """Whatever time its encoder has, which is older than the training."""
    encoder = shutil.copytree(shapes.encoder, tmp_path / "eye")
    for number, path in enumerate((encoder, *encoder.rglob("*"))):
        os.utime(path, (time.time(), time.time() - 100 - number))
    before = today()
    made = written(encoder=encoder)
    out = export.hub(made, tmp_path / "for-the-hub")
    days = {before, today()}  # at midnight two
    for folder in (made.path, out):
        found = times(folder)
        assert {".", "encoder", "model.safetensors", "config.json", "privacy.json", "README.md"} < set(found)
        assert len(set(found.values())) == 1
        assert set(found.values()) <= days
    with tarfile.open(tmp_path / "model.tar", "w") as archive:
        archive.add(made.path)
    with tarfile.open(tmp_path / "model.tar") as archive:
        assert {entry.mtime * 10**9 for entry in archive} <= days


def test_an_export_of_a_folder_that_was_copied_since_has_the_day_too(model: ModelFolder) -> None:
    os.utime(model.model, (1, 1))
    assert len(set(times(export.hub(model, Path("hub"))).values())) == 1
