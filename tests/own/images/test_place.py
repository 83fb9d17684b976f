"""The doors to the same images, and the records of folders around and within."""

import csv
import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from dpmix.data.listing import read_listing
from dpmix.errors import DataError
from dpmix.own.images.place import beside, expanded, holder_of, linked_places, name_of, other_places, place_of, root_of
from tests.own.drawn import draw


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`mine`, three classes of two images, in the working directory; its real path."""
    monkeypatch.chdir(tmp_path)
    return draw(Path("mine"), 2).resolve()


def write_table(path: Path, names: Sequence[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file_name", "label"), *((name, name.split("/")[-2]) for name in names)])
    return path


def test_every_door_leads_to_one_place(mine: Path) -> None:
    names = sorted(path.relative_to(mine).as_posix() for path in mine.rglob("*.png"))
    Path("link").symlink_to("mine")
    write_table(mine / "labels.csv", names)
    write_table(mine / "some.csv", names[:3])
    Path("inner").symlink_to("mine/labels.csv")
    write_table(Path("mine.csv"), names)  # relative to the folder of its name
    write_table(Path("mine.tsv"), [f"mine/{name}" for name in names])
    doors = [
        "mine", "mine/", "./mine", "mine/../mine", "link", str(mine), "mine/labels.csv", "link/labels.csv",
        "mine/some.csv", "inner", "mine.csv", "mine.tsv",
    ]  # fmt: skip
    assert {door: root_of(Path(door)) for door in doors} == dict.fromkeys(doors, mine)
    with zipfile.ZipFile("mine.zip", "w") as archive:
        for name in names:
            archive.write(mine / name, name)
    there = mine.with_name("mine.dpmix-spent.json")
    assert {place_of(Path(door)) for door in (*doors, "mine.zip")} == {there}
    assert name_of(root_of(Path("mine.zip"))) == name_of(mine) == "mine"


def test_no_model_lies_among_images_that_a_table_names_but_beside_them(mine: Path) -> None:
    names = [path.relative_to(mine.parent).as_posix() for path in mine.rglob("*.png")]
    assert holder_of(mine) == mine
    assert holder_of(write_table(Path("list.csv"), names)) == mine
    assert holder_of(write_table(mine / "labels.csv", [name.removeprefix("mine/") for name in names])) == mine
    bile = [name for name in names if "bile" in name]
    assert holder_of(write_table(Path("some.csv"), bile)) == mine / "bile"


def test_records_of_folders_around_and_within_are_found(mine: Path, tmp_path: Path) -> None:
    (mine / "bile").rename("elsewhere")
    (mine / "bile").symlink_to(tmp_path / "elsewhere")
    listing = read_listing(mine)
    assert other_places(listing) == ()
    expected = [
        mine.with_name("mine.dpmix-spent.json"),
        mine / "blood.dpmix-spent.json",
        tmp_path.resolve() / "elsewhere.dpmix-spent.json",
        tmp_path.resolve().with_name(f"{tmp_path.name}.dpmix-spent.json"),
    ]
    strange = [Path("another.dpmix-spent.json"), mine / "bone.dpmix-spent.json"]
    try:
        for path in (*expected, *strange):
            path.write_text("{}", encoding="utf-8")
        assert sorted(other_places(read_listing(mine))) == sorted(expected)
    finally:
        expected[-1].unlink()


def test_a_link_to_an_image_leads_to_the_record_of_its_folder(mine: Path) -> None:
    for path in sorted(mine.rglob("*.png")):
        link = Path("links", path.parent.name, path.name)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    there = mine.with_name("mine.dpmix-spent.json")
    there.write_text("{}", encoding="utf-8")
    assert other_places(read_listing("links")) == (there,)


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target.absolute())


def test_a_run_on_links_is_entered_beside_the_folders_that_they_lead_into(mine: Path, tmp_path: Path) -> None:
    here = tmp_path.resolve()
    far = draw(Path("far/away/yours"), 2, seed=1).resolve()
    for path in sorted(mine.rglob("*.png")):
        link(Path("links", path.parent.name, path.name), path)
        link(Path("both", path.parent.name, path.name), path)
    for path in sorted(far.rglob("*.png")):
        link(Path("both", path.parent.name, f"yours-{path.name}"), path)
    Path("folders").mkdir()
    for folder in sorted(far.iterdir()):
        link(Path("folders", folder.name), folder)
    Path("door").symlink_to("links")
    draw(Path("mixed"), 2, seed=2)
    link(Path("mixed", "bile", "linked.png"), mine / "bile" / "0.png")

    def found(name: str) -> list[str]:
        return [str(path.relative_to(here)) for path in linked_places(Path(name), read_listing(name))]

    ending = ".dpmix-spent.json"
    assert found("links") == found("door") == [f"mine{ending}"]
    assert found("folders") == [f"far/away/yours{ending}"]
    assert found("both") == [f"far/away/yours{ending}", f"mine{ending}"]  # and not beside the one that holds all
    assert found("mixed") == [f"mine/bile{ending}"]
    assert found("mine") == []
    Path("linked-mine").symlink_to("mine")
    assert found("linked-mine") == []
    shutil.make_archive("packed", "zip", "mine")
    Path("archives").mkdir()
    Path("archives/train.zip").symlink_to("../packed.zip")
    shutil.copy("packed.zip", "archives/test.zip")
    assert found("archives") == [f"packed{ending}"]


def test_where_nothing_can_be_written_the_folders_within_are_taken(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in sorted(mine.rglob("*.png")):
        link(Path("links", path.parent.name, path.name), path)
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path.resolve() and allowed(path, mode))
    found = linked_places(Path("links"), read_listing("links"))
    assert [path.parent for path in found] == [mine] * 3
    assert [path.name.partition(".")[0] for path in found] == sorted(folder.name for folder in mine.iterdir())


def test_a_name_is_taken_as_it_is_written_before_a_home_is_looked_for(mine: Path) -> None:
    assert expanded("~/x") == Path.home() / "x"
    assert expanded("~nobody-is-called-so/x") == Path("~nobody-is-called-so/x")
    Path("~").mkdir()
    assert expanded("~") == Path("~")


def test_nothing_lies_beside_the_root() -> None:
    with pytest.raises(DataError, match="move them into a folder"):
        beside(Path("/"), "-model")
