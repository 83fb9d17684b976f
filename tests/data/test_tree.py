"""Files by their places below a folder or in an archive, and what is passed over, with the reason."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from dpmix.data.tree import Files, Skipped, archive_tree, read_tree
from dpmix.errors import DataError
from tests.data.conftest import archive, lay


def why(root: Path) -> Mapping[str, str]:
    return dict(read_tree(root).skipped)


def test_files_by_what_they_are(tmp_path: Path) -> None:
    root = lay(
        tmp_path / "in", "b/2.png", "a/1.JPG", "labels.csv", "a/more.jsonl", "old.zip", "notes.txt", "a/raw.heic"
    )
    tree = read_tree(root)
    assert list(tree.images) == ["a/1.JPG", "b/2.png"]
    assert list(tree.tables) == ["a/more.jsonl", "labels.csv"]
    assert list(tree.archives) == ["old.zip"]
    assert [one.place for one in tree.skipped] == ["a/raw.heic", "notes.txt"]
    assert tree.images["a/1.JPG"].path == root / "a" / "1.JPG"


def test_what_is_passed_over_is_named_with_the_reason(tmp_path: Path) -> None:
    root = lay(
        tmp_path / "in", "a/1.png", "a/.DS_Store", "@eaDir/a/1.png", "__MACOSX/a/._1.png", ".hidden/1.png", "a/n.txt"
    )
    (root / "empty" / "inner").mkdir(parents=True)
    (root / "a" / "broken.png").symlink_to(root / "nowhere.png")
    os.mkfifo(root / "a" / "pipe.png")
    reasons = why(root)
    assert list(read_tree(root).images) == ["a/1.png"]
    assert {place: reasons[place].split()[0] for place in reasons} == {
        "@eaDir/": "left",
        "__MACOSX/": "left",
        ".hidden/": "hidden:",
        "a/.DS_Store": "left",
        "a/n.txt": "not",
        "a/broken.png": "a",
        "a/pipe.png": "neither",
        "empty/inner/": "an",
    }
    assert reasons["a/broken.png"] == "a link to a file that does not exist"


def test_names_that_cannot_be_printed_are_shown_with_escapes(tmp_path: Path) -> None:
    root = lay(tmp_path / "in", "a/1.png", "two\nlines/1.png", "a/" + os.fsdecode(b"\xff.png"))
    tree = read_tree(root)
    assert list(tree.images) == ["a/1.png"]
    assert [one.place for one in tree.skipped] == ["a/\\udcff.png", "two\\nlines/"]
    assert "\n" not in "".join(one.place for one in tree.skipped)


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    lay(tmp_path / "elsewhere", "1.png")
    root = lay(tmp_path / "in", "a/1.png")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "up").symlink_to(root)
    tree = read_tree(root)
    assert list(tree.images) == ["a/1.png", "b/1.png"]
    assert tree.skipped == (Skipped("a/up/", "a link to a folder that it lies in"),)


def test_an_archive_is_a_folder(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "d.ZIP", {"a/1.png": b"1", "__MACOSX/a/._1.png": b"", "a/notes.txt": b"", "../up/1.png": b""}
    )
    tree = read_tree(path)
    assert list(tree.images) == ["a/1.png"]
    assert tree.images["a/1.png"].read() == b"1"
    assert [one.place for one in tree.skipped] == ["../up/1.png", "__MACOSX/a/._1.png", "a/notes.txt"]


def test_files_are_found_again(tmp_path: Path) -> None:
    root = lay(tmp_path / "in", "a/1.png")
    (root / "a" / "1.png").write_bytes(b"on disk")
    archive(root / "train-0.zip", {"a/1.png": b"in a folder of archives"})
    archive(tmp_path / "d.zip", {"a\\1.png": b"in an archive"})
    assert list(archive_tree(read_tree(root), "train-0.zip").images) == ["train-0.zip/a/1.png"]
    assert Files(root)["a/1.png"].read() == b"on disk"
    assert Files(root)["train-0.zip/a/1.png"].read() == b"in a folder of archives"
    assert Files(tmp_path / "d.zip")["a/1.png"].read() == b"in an archive"
    with pytest.raises(DataError, match=r"d\.zip no longer holds b\.png"):
        Files(tmp_path / "d.zip")["b.png"]


def test_a_root_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    root = lay(tmp_path / os.fsdecode(b"caf\xe9"), "a/1.png")
    with pytest.raises(DataError, match=r"caf\\udce9 is no path in UTF-8.*; rename it"):
        read_tree(root)
    root.rename(tmp_path / "café")
    assert list(read_tree(tmp_path / "café").images) == ["a/1.png"]


def test_an_image_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    root = lay(tmp_path / "in", "a/1.png", "a/2", "a/3.heic", "a/4.HEIC", "a/5.bak")
    for name, content in (
        ("2", b"\xff\xd8\xff\xe0"),
        ("4.HEIC", b"\xff\xd8\xff\xe1"),
        ("5.bak", b"RIFF\0\0\0\0WEBPVP8 "),
    ):
        (root / "a" / name).write_bytes(content)
    assert list(read_tree(root).images) == ["a/1.png", "a/4.HEIC"]
    reasons = why(root)
    assert reasons["a/2"].endswith("let its name end in .jpg")
    assert reasons["a/3.heic"].startswith("not an image that Pillow reads")
    assert reasons["a/5.bak"].endswith("let its name end in .webp")


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist; give a folder"):
        read_tree(tmp_path / "nowhere")
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(DataError, match=r"file\.txt is no folder, zip archive or table"):
        read_tree(tmp_path / "file.txt")
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(tmp_path / "twice.zip", [("a/1.png", b""), ("a/1.png", b"")])
    with pytest.raises(DataError, match=r"twice\.zip/a/1\.png is there twice"):
        read_tree(tmp_path / "twice.zip")
