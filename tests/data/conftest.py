"""Small pictures in folders, and the specifications of their data sets."""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix.data.images import load
from dpmix.data.sources import prepare
from dpmix.errors import DataError
from dpmix.params.specs import DatasetSpec
from tests.disks import small_disk

__all__ = ["small_disk"]


def picture(seed: int, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> Image.Image:
    generator = np.random.default_rng(seed)
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], bands) if bands > 1 else (size[1], size[0])
    return Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).convert(mode)


def save(image: Image.Image, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def folder_of(root: Path, counts: dict[str, int], size: tuple[int, int] = (12, 12)) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        for index in range(count):
            save(picture(1000 * number + index, size), root / name / f"{index:03d}.png")
    return root


def lay(root: Path, *places: str) -> Path:
    """Empty files at these places below a folder."""
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).touch()
    return root


def archive(path: Path, members: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> Path:
    """A zip archive with these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items() if isinstance(members, Mapping) else members:
            file.writestr(name, content)
    return path


def spec_of(path: Path, classes: int, train: int, test: int, channels: int = 3) -> DatasetSpec:
    return DatasetSpec(
        name="mine",
        label="Mine",
        source="folder",
        classes=classes,
        train=train,
        test=test,
        channels=channels,  # type: ignore[arg-type]
        path=str(path),
    )


def digits_of(train: int, test: int = 360) -> DatasetSpec:
    return DatasetSpec(
        name="digits", label="Digits", source="scikit-learn", classes=10, train=train, test=test, channels=1
    )


# Digits
@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digits") / "store"
    prepare(digits_of(1437), 8, out.parent / "raw", out)
    return out


# What is refused
def assert_unfinished(out: Path) -> None:
    """There is no store, and what grew beside it is none either."""
    assert [path.name for path in out.parent.iterdir()] == [f".{out.name}.partial"]
    for folder in (out, out.parent / f".{out.name}.partial"):
        with pytest.raises(DataError, match="is not an image store"):
            load(folder)
