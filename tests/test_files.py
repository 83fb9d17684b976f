"""Files are whole or absent: for whoever looks while they are written, and when writing fails in the middle."""

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest

from dpmix import files
from dpmix.errors import DataError, DpmixError
from dpmix.files import (
    atomic_directory,
    atomic_file,
    lock,
    read_json,
    read_object,
    replace_directory,
    write_json,
    write_text,
)
from tests.old_files import OLD, names, old_folder

pytestmark = pytest.mark.filterwarnings("ignore")


# One file -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is there, and a second name of it: written in place, the second would change too."""
    path = tmp_path / "made.json"
    path.write_bytes(OLD)
    os.link(path, tmp_path / "kept")
    return path


def test_who_looks_while_a_file_is_written_sees_the_old_one(path: Path) -> None:
    with atomic_file(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (path.parent, ".json")
        temporary.write_text("half")
        assert path.read_bytes() == OLD
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert (path.parent / "kept").read_bytes() == OLD
    assert names(path.parent) == ["kept", "made.json"]


def test_a_new_file_is_absent_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "made.csv"
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert names(path.parent) == ["made.csv"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_what_is_made_is_as_readable_as_what_a_program_makes(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "file", "x")
        with atomic_directory(tmp_path / "folder"):
            pass
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug"), DpmixError("one line")])
def test_an_error_leaves_what_was_there_and_stays_what_it_is(path: Path, error: BaseException) -> None:
    def write() -> None:
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    assert caught.value is error
    assert path.read_bytes() == OLD
    assert names(path.parent) == ["kept", "made.json"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
@pytest.mark.parametrize("context", [atomic_file, atomic_directory])
def test_a_full_disk_is_one_line(tmp_path: Path, error: Exception, context: Any) -> None:
    with pytest.raises(DpmixError) as caught, context(tmp_path / "made"):
        raise error
    expected = f"cannot write {tmp_path / 'made'}: No space left on device; free space or choose another folder"
    assert str(caught.value) == expected
    assert names(tmp_path) == []


@pytest.mark.parametrize("context", [atomic_file, atomic_directory])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, context: Any) -> None:
    (tmp_path / "in the way").write_text("")
    path = tmp_path / "in the way" / "made"
    with (
        pytest.raises(DpmixError, match=f"cannot write {path}: (Not a directory|File exists); free space"),
        context(path),
    ):
        pytest.fail("there is nowhere to write")


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = old_folder(tmp_path / "made")
    with atomic_directory(path) as temporary:
        assert temporary.parent == tmp_path
        (temporary / "two").write_text("new")
        assert names(path) == ["one"]
    assert names(path) == ["two"]
    assert names(tmp_path) == ["made"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug"), DpmixError("one line")])
def test_an_error_leaves_the_folder_that_was_there(tmp_path: Path, error: BaseException) -> None:
    path = old_folder(tmp_path / "made")

    def write() -> None:
        with atomic_directory(path) as temporary:
            (temporary / "two").write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    assert caught.value is error
    assert (names(path), names(tmp_path)) == (["one"], ["made"])


def test_no_folder_is_ever_half_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed as soon as the removal of the old one begins, the new one is in its place."""
    path = old_folder(tmp_path / "made")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "two").write_text("new")
    removed: list[Path] = []

    def killed(folder: Path, **_: object) -> None:
        removed.append(Path(folder))
        raise KeyboardInterrupt

    monkeypatch.setattr(files.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        replace_directory(tmp_path / "new", path)
    assert names(path) == ["two"]
    assert removed
    assert path not in removed


def test_a_link_to_a_folder_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    target = old_folder(tmp_path / "elsewhere")
    (tmp_path / "made").symlink_to(target)
    with atomic_directory(tmp_path / "made") as temporary:
        (temporary / "two").write_text("new")
    assert names(tmp_path / "made") == ["two"]
    assert names(target) == ["one"]
    assert names(tmp_path) == ["elsewhere", "made"]


# JSON -----------------------------------------------------------------------------------------------------------------


def test_equal_values_are_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"ε": [1, 2.5, None], "b": {"d": 1, "c": "–"}})
    write_json(tmp_path / "b", {"b": {"c": "–", "d": 1}, "ε": [1, 2.5, None]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    text = (tmp_path / "a").read_text(encoding="utf-8")
    assert text.splitlines()[:3] == ["{", '  "b": {', '    "c": "–",']
    assert text.endswith("}\n")
    assert read_json(tmp_path / "a") == {"ε": [1, 2.5, None], "b": {"d": 1, "c": "–"}}


def test_json_that_is_missing_or_broken_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DpmixError, match=r"/a does not exist; run the step that makes it$"):
        read_json(tmp_path / "a")
    for text in (b"{", b"\xff"):
        (tmp_path / "a").write_bytes(text)
        with pytest.raises(DpmixError, match=r"/a is not valid JSON \(.*\); delete it and make it again$"):
            read_json(tmp_path / "a")
    with pytest.raises(DpmixError, match=f"^cannot read {tmp_path}: it is a folder; delete it and make it again$"):
        read_json(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "holds a list and no JSON object"),
        ('"a"', "holds a text and no JSON object"),
        ("null", "holds nothing and no JSON object"),
        ("true", "holds a truth value and no JSON object"),
        ("2.5", "holds a number and no JSON object"),
        ('{"b": 1}', "has no 'a', so it is not whole"),
        ("[" * 10**5, r"is not valid JSON \(.*\)"),
    ],
)
def test_each_kind_of_damage_of_an_object_has_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "one.json"
    path.write_text('{"a": null}', encoding="utf-8")
    assert read_object(path, "make tea", ["a"]) == {"a": None}
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"^{path} {words}; make tea$"):
        read_object(path, "make tea", ["a"])


def test_a_folder_in_the_place_of_a_file_is_one_line_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").mkdir()
    for path in (Path("."), Path("made")):
        with pytest.raises(DpmixError, match=f"^cannot write {re.escape(str(path))}: it is a folder; name a file$"):
            write_text(path, "x")
    assert names(tmp_path) == ["made"]
    assert names(tmp_path / "made") == []


def test_a_name_that_is_no_text_is_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    write_json(tmp_path / "kept.json", {"output": "café/out"})
    with pytest.raises(DataError) as caught:
        write_json(tmp_path / "new.json", {"images": "here", "output": os.fsdecode(b"/disk/caf\xe9/out")})
    assert str(caught.value) == ("the name /disk/caf\\udce9… is not in UTF-8, and new.json must hold it; rename it")
    assert names(tmp_path) == ["kept.json"]


def test_a_lock_is_one_process_s_until_it_is_closed(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        assert lock(first)
        assert not lock(second, wait=False)
    with (tmp_path / "lock").open("w") as third:
        assert lock(third, wait=False)
