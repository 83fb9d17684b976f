"""What an encoder sees of the folder in which features are kept in files without a name."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from tests.training.conftest import blocks


def looking_into(folder: Path) -> tuple[Callable[[Tensor], Tensor], list[list[str]]]:
    """`blocks`, and what it sees of a folder each time: no file by its name, and which are mapped."""
    seen: list[list[str]] = []

    def encode(images: Tensor) -> Tensor:
        if folder.exists():
            assert list(folder.iterdir()) == []
            maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
            seen.append([line for line in maps if str(folder) in line])
        return blocks(images)

    return encode, seen
