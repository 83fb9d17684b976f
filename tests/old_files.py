"""A folder with an old file, for the tests of what replaces it."""

from pathlib import Path

OLD = b"what was there before"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def old_folder(path: Path) -> Path:
    path.mkdir()
    (path / "one").write_bytes(OLD)
    return path
