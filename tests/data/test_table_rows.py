"""Which image a row is about, wherever the table lies; rows and images without each other."""

import shutil
import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from dpmix.data.file_names import HIDDEN, LEFT_THERE
from dpmix.data.table_rows import given_table, rows_by_place, table_beside, tables_in
from dpmix.data.tree import read_tree
from dpmix.errors import DataError
from tests.data.conftest import archive, lay


def labels(root: Path, **tables: str) -> dict[str, str | None]:
    """What the rows of all tables below a root say of which place; `train__metadata` is `train/metadata.csv`."""
    for name, text in tables.items():
        path = root / (name.replace("__", "/") + ".csv")
        path.write_text(text, encoding="utf-8")
    tree = read_tree(root)
    rows, _ = rows_by_place(tree, tables_in(tree)[0])
    return {place: row.label for place, row in rows.items()}


def test_names_are_relative_to_the_tables_folder(tmp_path: Path) -> None:
    root = lay(tmp_path / "in", "train/1.png", "test/sub/1.png")
    found = labels(
        root, train__metadata="file_name,label\n1.png,cat\n", test__metadata="file_name,label\n./sub/../sub/1.png,dog\n"
    )
    assert found == {"train/1.png": "cat", "test/sub/1.png": "dog"}


@pytest.mark.parametrize(
    "written", ["sub/ä.png", "sub/a\N{COMBINING DIAERESIS}.png", "sub\\ä.png", "{root}/sub/ä.png", "in/sub/ä.png"]
)
def test_one_file_by_several_names(written: str, tmp_path: Path) -> None:
    root = lay(tmp_path / "in", "sub/ä.png")
    found = labels(root, labels=f"file_name,label\n{written.format(root=root.resolve())},cat\n")
    assert found == {"sub/ä.png": "cat"}


def test_images_without_a_row_are_named_and_rows_about_what_is_passed_over_are_left_alone(tmp_path: Path) -> None:
    root = lay(tmp_path / "in", "1.png", "2.png", "notes.txt", "labels.csv")
    (root / "broken.png").symlink_to("nowhere")
    (root / "labels.csv").write_text("file_name,label\n1.png,a\nnotes.txt,a\nbroken.png,a\n", encoding="utf-8")
    tree = read_tree(root)
    rows, unlisted = rows_by_place(tree, tables_in(tree)[0])
    assert list(rows) == ["1.png"]
    assert [(one.place, one.why) for one in unlisted] == [("2.png", "not named in the table")]


def test_a_table_without_labels_leaves_images_to_their_folders(tmp_path: Path) -> None:
    root = lay(tmp_path / "in", "a/1.png", "a/2.png", "who.csv", "years.csv", "texts/metadata.csv")
    (root / "who.csv").write_text("file_name,person\na/1.png,x\n", encoding="utf-8")
    (root / "years.csv").write_text("year\n2020\n", encoding="utf-8")
    (root / "texts" / "metadata.csv").write_text("file_name,text\n", encoding="utf-8")
    tree = read_tree(root)
    tables, others = tables_in(tree)
    rows, unlisted = rows_by_place(tree, tables)
    assert (rows["a/1.png"].person, unlisted) == ("x", ())
    assert [one.place for one in others] == ["texts/metadata.csv", "years.csv"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file_name,label\n1.png,a\n3.png,b\n4.png,b\n", r"names 2 files that are not there: 3\.png \(line 3\)"),
        ("file_name,label\n../in/1.png,a\n", r"names a file that is not there: \.\./in/1\.png"),
        ("file_name,label\n/etc/1.png,a\n", r"names a file that is not there: /etc/1\.png"),
        ("file_name,label\n1.png,a\n./1.png,b\n", r"line 3: \./1\.png has a line already"),
    ],
)
def test_rows_that_name_nothing_or_twice_are_one_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as caught:
        labels(lay(tmp_path / "in", "1.png"), labels=text)
    assert "\n" not in str(caught.value)


def test_two_tables_in_one_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv and .*b\.csv both say what is on images"):
        labels(lay(tmp_path / "in", "1.png"), a="file_name,label\n1.png,a\n", b="file_name,label\n1.png,b\n")


# Given by its path
def test_a_table_beside_what_it_is_about(tmp_path: Path) -> None:
    lay(tmp_path / "mine", "1.png", "2.png")
    table = tmp_path / "mine.csv"
    for text in ("file_name,label\n1.png,a\n", "file_name,label\nmine/1.png,a\n"):
        table.write_text(text, encoding="utf-8")
        assert next(iter(rows_by_place(*given_table(table))[0].values())).label == "a"
        beside = table_beside(tmp_path / "mine")
        assert beside is not None
        assert list(rows_by_place(read_tree(tmp_path / "mine"), {"": beside})[0]) == ["1.png"]
    table.write_text("file_name,label\n1.png,a\n", encoding="utf-8")
    archive(tmp_path / "mine.zip", {"1.png": b""})
    shutil.rmtree(tmp_path / "mine")
    tree, tables = given_table(table)
    assert tree.root == tmp_path / "mine.zip"
    assert list(rows_by_place(tree, tables)[0]) == ["1.png"]
    assert table_beside(tmp_path / "mine.zip") is not None
    assert table_beside(tmp_path / "other") is None


def test_a_given_table_reads_no_other_file_of_its_folder(tmp_path: Path) -> None:
    root = lay(tmp_path / "in", "1.png", "private/2.png", "notes.txt")
    text = f"file_name,label\n{(root / '1.png').resolve()},a\nnotes.txt,b\n"
    (root / "labels.csv").write_text(text, encoding="utf-8")
    tree, _ = given_table(root / "labels.csv")
    assert (list(tree.images), [one.place for one in tree.skipped]) == (["1.png"], ["notes.txt"])


@pytest.mark.parametrize("there", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_accents_of_a_given_table_are_found_composed_or_not(
    there: Literal["NFC", "NFD"], written: Literal["NFC", "NFD"], tmp_path: Path
) -> None:
    name = unicodedata.normalize(there, "été.png")
    root = lay(tmp_path / "in", name)
    (root / "labels.csv").write_text(f"file_name,label\n{unicodedata.normalize(written, name)},a\n", encoding="utf-8")
    tree, tables = given_table(root / "labels.csv")
    rows, _ = rows_by_place(tree, tables)
    assert list(tree.images) == list(rows) == [name]


def test_a_given_table_passes_over_what_its_folder_would(tmp_path: Path) -> None:
    root = lay(tmp_path / "in", "1.png", ".2.png", "@eaDir/3.png")
    (root / "labels.csv").write_text("file_name,label\n1.png,a\n.2.png,a\n@eaDir/3.png,b\n", encoding="utf-8")
    tree, tables = given_table(root / "labels.csv")
    assert list(tree.images) == ["1.png"]
    assert dict(tree.skipped) == {".2.png": HIDDEN, "@eaDir/3.png": LEFT_THERE}
    assert list(rows_by_place(tree, tables)[0]) == ["1.png"]


@pytest.mark.parametrize("written", ["../other/2.png", "{root}/other/2.png", "sub/../../other/2.png"])
def test_a_given_table_names_no_file_outside_of_its_folder(written: str, tmp_path: Path) -> None:
    root = lay(tmp_path / "in", "1.png", "sub/1.png")
    lay(tmp_path / "other", "2.png")
    text = f"file_name,label\n1.png,a\n{written.format(root=tmp_path.resolve())},b\n"
    (root / "labels.csv").write_text(text, encoding="utf-8")
    tree, tables = given_table(root / "labels.csv")
    assert list(tree.images) == ["1.png"]
    with pytest.raises(DataError, match="names a file that is not there"):
        rows_by_place(tree, tables)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("image,label\n1.png,a\n", "has no column file_name"),
        ("file_name,diagnosis\n1.png,a\n", "has no column label, only file_name, diagnosis; name one label"),
        ("file_name,label\n", "names no image"),
    ],
)
def test_a_given_table_that_will_not_do_is_one_line(text: str | None, words: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words) as caught:
        given_table(tmp_path / "labels.csv")
    assert "\n" not in str(caught.value)
