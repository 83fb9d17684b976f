"""What is an image, and what is litter, by its name."""

import pytest

from dpmix.data.file_names import objection, suffix, suffixes


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (".DS_Store", "operating system"),
        ("Thumbs.db", "operating system"),
        ("desktop.ini", "operating system"),
        ("._photo.jpg", "operating system"),
        ("@eaDir", "operating system"),
        ("__MACOSX", "operating system"),
        ("#recycle", "operating system"),
        ("@Recycle", "operating system"),
        ("$RECYCLE.BIN", "operating system"),
        ("@Recently-Snapshot", "operating system"),
        ("lost+found", "operating system"),
        ("System Volume Information", "operating system"),
        ("ehthumbs.db", "operating system"),
        (".photo.jpg", "begins with a dot"),
        ("..", "begins with a dot"),
        ("two\nlines.png", "cannot be printed"),
        ("\udcff.png", "cannot be printed"),
        ("two\u2028lines.png", "cannot be printed"),
        ("cat\u200b", "cannot be printed"),
        ("\u202etac", "cannot be printed"),
    ],
)
def test_a_name_that_is_passed_over(name: str, words: str) -> None:
    assert words in (objection(name) or "")


@pytest.mark.parametrize(
    "name",
    ["photo.jpg", "Käse 1.PNG", "猫.webp", "👩‍👩‍👧.png", "a'b\"c,d.png", "-1.png", "~$.png", "recycle", "#1", "@home"],
)
def test_any_other_name_is_taken(name: str) -> None:
    assert objection(name) is None


def test_suffixes_are_of_formats_that_pillow_decodes() -> None:
    assert {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm"} <= suffixes()
    assert not {".eps", ".txt", ".pdf", ".mpg", ".zip", ""} & suffixes()
    assert [suffix(name) for name in ("a.PNG", "b", ".png", "c.tar.gz", "d.")] == [".png", "", "", ".gz", "."]
