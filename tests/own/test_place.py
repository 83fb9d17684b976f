"""The doors to the same images, and the records of folders around and within."""

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from dpmix.data.listing import read_listing
from dpmix.errors import DataError
from dpmix.own.place import beside, expanded, holder_of, name_of, other_places, place_of, root_of
from tests.own.images import draw


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


def test_a_name_is_taken_as_it_is_written_before_a_home_is_looked_for(mine: Path) -> None:
    assert expanded("~/x") == Path.home() / "x"
    assert expanded("~nobody-is-called-so/x") == Path("~nobody-is-called-so/x")
    Path("~").mkdir()
    assert expanded("~") == Path("~")


def test_nothing_lies_beside_the_root() -> None:
    with pytest.raises(DataError, match="move them into a folder"):
        beside(Path("/"), "-model")
