"""Which code a model was made by, and which file it is: SHA-256 of sources, of their lock, and of files."""

import hashlib
from pathlib import Path


def source_digest() -> str:
    """SHA-256 of this program's own source files, which tells which code was executed."""
    import dpmix

    root = Path(dpmix.__file__).parent
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        whole.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def lock_digest() -> str | None:
    """SHA-256 of `requirements.lock` if this program lies in a checkout of the repository, else None."""
    import dpmix

    lock = Path(dpmix.__file__).parents[1] / "requirements.lock"
    return file_digest(lock) if lock.is_file() else None


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
