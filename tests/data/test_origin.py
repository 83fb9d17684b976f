"""What something was made of: a change of it is noticed, and a copy of it is not a change."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpmix.data import origin
from dpmix.errors import DataError
from dpmix.files import read_json
from tests.data.conftest import folder_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "in", {"a": 3, "b": 3})


@pytest.fixture
def made(tmp_path: Path, root: Path) -> Path:
    (tmp_path / "made").mkdir()
    origin.note(tmp_path / "made", root)
    return tmp_path / "made"


def exchange(one: Path, other: Path) -> None:
    """The two files change places; each keeps its size and its time of change."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def test_what_is_as_it_was_is_no_change(root: Path, made: Path) -> None:
    (root / "notes.txt").write_text("no image")
    (root / "a" / ".hidden.png").write_bytes(b"")
    assert origin.check(made) is None


CHANGES: dict[str, Callable[[Path], Any]] = {
    "two change places": lambda root: exchange(root / "a" / "000.png", root / "b" / "001.png"),
    "one is gone": lambda root: (root / "a" / "000.png").unlink(),
    "one more": lambda root: shutil.copy(root / "a" / "000.png", root / "b" / "007.png"),
    "one is moved": lambda root: (root / "a" / "000.png").rename(root / "b" / "009.png"),
    "one is another": lambda root: (root / "a" / "000.png").write_bytes(b"changed"),
    "a class is renamed": lambda root: (root / "a").rename(root / "c"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_one_line(root: Path, made: Path, change: str) -> None:
    files = sorted(path for path in root.rglob("*.png"))
    assert [path.relative_to(root).as_posix() for path in files][:2] == ["a/000.png", "a/001.png"]
    for path in files:  # of one time, as after unpacking
        os.utime(path, (1, 1))
    origin.note(made, root)
    CHANGES[change](root)
    with pytest.raises(DataError) as caught:
        origin.check(made)
    assert str(caught.value) == (
        f"{root} has changed since {made} was made of it; put back what was there, or delete {made} and run the same "
        "command again"
    )
    (root / "manifest.json").write_text("as a set D has it")
    with pytest.raises(DataError, match=rf"or delete {made} and {root}/manifest.json and run and run the same command"):
        origin.check(made, lambda: [Path("run")])


def test_a_copy_of_the_images_is_the_same_images_and_is_read_once(root: Path, made: Path) -> None:
    before = read_json(made / "source.json")
    shutil.copytree(root, root.with_name("copy"), copy_function=shutil.copyfile)
    shutil.rmtree(root)
    root.with_name("copy").rename(root)
    origin.check(made)
    after = read_json(made / "source.json")
    assert after["stamps"] != before["stamps"]
    assert after["content"] == before["content"]
    assert after["stamps"] == origin.fingerprint(root)
    origin.check(made)


def test_what_has_no_note_or_whose_images_are_gone_is_not_checked(root: Path, made: Path, tmp_path: Path) -> None:
    origin.check(tmp_path)
    shutil.rmtree(root)
    assert (made / "source.json").is_file()
    origin.check(made)


def test_archives_and_folders_that_are_links_are_looked_at(root: Path, made: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "images"), "zip", root))
    first = origin.fingerprint(archive, content=True)
    (root / "linked").symlink_to(folder_of(tmp_path / "elsewhere", {"c": 1}))
    (root / "linked" / "back").symlink_to(root)  # without end, were it followed
    with pytest.raises(DataError, match="has changed since"):
        origin.check(made)
    archive.write_bytes(archive.read_bytes() + b"\0")
    assert origin.fingerprint(archive, content=True) != first


def table_in(root: Path, name: str = "labels.csv") -> Path:
    lines = [f"{path.relative_to(root).as_posix()},{path.parent.name}" for path in sorted(root.rglob("*.png"))]
    (root / name).write_text("\n".join(["file_name,label", *lines]), encoding="utf-8")
    return root / name


DOORS: dict[str, Callable[[Path], Path]] = {
    "in the folder": table_in,
    "beside the folder": lambda root: table_in(root).rename(root.with_name(f"{root.name}.csv")),
}
TABLE_CHANGES: dict[str, Callable[[Path, Path], Any]] = {
    "two change places": lambda root, table: exchange(root / "a" / "000.png", root / "b" / "001.png"),
    "one is another": lambda root, table: (root / "a" / "000.png").write_bytes(b"changed"),
    "one is gone": lambda root, table: (root / "a" / "000.png").unlink(),
    "another label": lambda root, table: table.write_text(table.read_text().replace("000.png,a", "000.png,b")),
}


@pytest.mark.parametrize("change", TABLE_CHANGES)
@pytest.mark.parametrize("door", DOORS)
def test_of_a_table_its_images_are_looked_at_and_of_a_folder_its_table(
    root: Path, tmp_path: Path, door: str, change: str
) -> None:
    table = DOORS[door](root)
    for path in root.rglob("*.png"):  # of one time, as after unpacking
        os.utime(path, (1, 1))
    places = {"by the table": table, "by the folder": root}
    for name, place in places.items():
        (tmp_path / name).mkdir()
        origin.note(tmp_path / name, place)
    (root.parent / "another.png").write_bytes(b"is not named")
    (root.parent / "another.csv").write_text("about,something else")
    for name in places:
        origin.check(tmp_path / name)
    TABLE_CHANGES[change](root, table)
    for name, place in places.items():
        with pytest.raises(DataError, match=rf"^{re.escape(str(place))} has changed since "):
            origin.check(tmp_path / name)


def test_of_a_table_beside_an_archive_both_are_looked_at(root: Path) -> None:
    table = DOORS["beside the folder"](root)
    archive = Path(shutil.make_archive(str(root), "zip", root))
    shutil.rmtree(root)
    relabelled = table.read_text().replace("000.png,a", "000.png,b")
    for change in (lambda: archive.write_bytes(archive.read_bytes() + b"\0"), lambda: table.write_text(relabelled)):
        seen = {place: origin.fingerprint(place, content=True) for place in (table, archive)}
        change()
        assert [place for place in seen if origin.fingerprint(place, content=True) == seen[place]] == []


def test_a_note_that_is_damaged_is_one_line(made: Path) -> None:
    (made / "source.json").write_text("null")
    with pytest.raises(DataError, match=r"source\.json holds nothing and no JSON object; delete it and run the same"):
        origin.check(made)
