"""The code that made a model is named by what it is."""

import hashlib
from pathlib import Path

from dpmix.own.model import source


def test_the_sources_are_all_of_this_program(repository: Path, tmp_path: Path) -> None:
    whole = hashlib.sha256()
    for path in sorted((repository / "dpmix").rglob("*.py")):
        whole.update(path.relative_to(repository / "dpmix").as_posix().encode() + b"\0" + path.read_bytes())
    assert source.source_digest() == whole.hexdigest()


def test_a_file_and_the_lock_are_named_by_their_content(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert source.file_digest(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
    assert source.lock_digest() == hashlib.sha256((repository / "requirements.lock").read_bytes()).hexdigest()
