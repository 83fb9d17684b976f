"""Digests of files and folders: what was changed, or is gone, is noticed."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from dpmix.errors import DataError
from dpmix.seals import (
    DIGESTS,
    SEAL,
    check_files,
    check_folder,
    check_made,
    digests_of,
    file_digest,
    files,
    seal_of,
    sealed_directory,
)


def test_the_digest_of_a_file_is_its_sha256_and_of_a_large_one_that_of_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BLOCK", 1000)
    path = tmp_path / "file"
    for size in (0, 1, 999, 1000):
        content = os.urandom(size)
        path.write_bytes(content)
        assert file_digest(path) == hashlib.sha256(content).hexdigest()
    for size in (1001, 2000, 4321):
        content = os.urandom(size)
        path.write_bytes(content)
        blocks = b"".join(hashlib.sha256(content[start : start + 1000]).digest() for start in range(0, size, 1000))
        assert file_digest(path) == hashlib.sha256(blocks).hexdigest()


def test_a_file_is_read_once_and_again_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    reads: list[Path] = []
    real = files._of_block
    monkeypatch.setattr(files, "_of_block", lambda path, start: reads.append(path) or real(path, start))
    first = file_digest(path)
    assert (file_digest(path), len(reads)) == (first, 1)
    path.write_bytes(b"two")
    second = file_digest(path)
    assert second != first
    assert len(reads) == 2
    # Another file in its place, of its size and its time of change, as an archive unpacks one.
    time = path.stat().st_mtime_ns
    path.with_name("other").write_bytes(b"six")
    path.with_name("other").replace(path)
    os.utime(path, ns=(time, time))
    assert file_digest(path) not in (first, second)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^cannot read \S+gone: No such file or directory; delete it and run the same"):
        file_digest(tmp_path / "gone")
    with pytest.raises(DataError, match=f"^cannot read {tmp_path}: "):
        file_digest(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder with two files, one of them in a folder."""
    with sealed_directory(tmp_path / "made") as temporary:
        (temporary / "in").mkdir()
        (temporary / "in" / "weights").write_bytes(b"weights")
        (temporary / "config").write_text("config")
        (temporary / ".hidden").write_text("not counted")
    return tmp_path / "made"


def test_a_folder_is_sealed_when_all_is_written(folder: Path) -> None:
    assert set(digests_of(folder)) == {"config", "in/weights"}
    assert check_folder(folder) == {"files": digests_of(folder)}
    assert seal_of(folder / "config") == json.loads((folder / DIGESTS).read_text())[SEAL]
    (folder / ".hidden").unlink()
    (folder / "more").write_text("")
    check_made(folder / "config")


@pytest.mark.parametrize("name", ["in/weights", "config", DIGESTS])
def test_a_file_of_a_folder_that_was_changed_or_is_gone_is_one_line(folder: Path, name: str) -> None:
    remedy = f"delete {folder} and run the same command again"
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-3] + b"xyz")
    with pytest.raises(DataError) as caught:
        check_made(folder / "config")
    assert str(caught.value).startswith(f"{folder / name} ")
    assert str(caught.value).endswith(f"; {remedy}")
    if name != DIGESTS:
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"^{folder / name} is missing; {remedy}$"):
            check_made(folder / "config")


def test_only_the_first_process_of_a_machine_reads_all_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {"config": "0" * 64}
    with pytest.raises(DataError, match="was damaged or changed"):
        check_files(folder, digests)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(DataError, match="was damaged or changed"):
        check_files(folder, digests)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert check_files(folder, digests) is None
