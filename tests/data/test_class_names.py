"""Class names as people say them."""

from pathlib import Path

import pytest

from dpmix.data.class_names import folder_names, matched, prompt_name, prompt_names, readable, readable_names
from dpmix.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("airplane", "airplane"),
        ("maple_tree", "maple tree"),
        ("AnnualCrop", "annual crop"),
        ("025.cactus", "cactus"),
        ("251.airplanes-101", "airplanes"),
        ("apartment_building/outdoor", "apartment building outdoor"),
        ("7", "7"),
        ("0.5mm", "0.5mm"),
    ],
)
def test_class_names_are_spoken_plainly(name: str, caption: str) -> None:
    assert prompt_name(name) == caption


SETS = [
    ("cat", "dog"),
    ("A", "a"),
    ("0.5mm", "1.5mm"),
    ("100.5mm", "200.5mm"),
    ("2.cat", "3.cat", "cat"),
    ("001.cat", "002.cat"),
    ("seaLake", "sea_lake", "sea lake", "Sea  Lake"),
    ("chair", "chair-101"),
    ("-", "_", " "),
    ("Grün", "grün"),
    ("Straße", "STRASSE"),
]


@pytest.mark.parametrize("names", SETS, ids=" ".join)
def test_different_classes_stay_different(names: tuple[str, ...]) -> None:
    for words in (readable_names, prompt_names, folder_names):
        assert len(set(words(names))) == len(names)
    # Also on a disk that knows no case.
    assert len({folder.casefold() for folder in folder_names(names)}) == len(names)
    assert matched(names[::-1], names, "d") == {name: number for number, name in enumerate(names)}


def test_names_that_are_different_in_plain_words_are_these() -> None:
    names = ("AnnualCrop", "025.cactus", "251.airplanes-101", "0.5mm")
    assert (
        readable_names(names) == [readable(name) for name in names] == ["annual crop", "cactus", "airplanes", "0.5mm"]
    )
    assert prompt_names(names) == [prompt_name(name) for name in names]


@pytest.mark.parametrize(
    ("names", "classes", "words", "mended"),
    [
        (["dogs"], ["dog"], "has a folder 'dogs', .*; did you mean 'dog'", ["dog"]),
        (["Cat", "CAT"], ["cat"], "d has folders 'Cat' and 'CAT', which both read 'cat'; name .*: cat$", ["cat"]),
        (
            ["cat_"],
            ["Cat", "cat"],
            "classes 'Cat' and 'cat', which both .*: Cat, cat$",
            ["Cat", "cat"],
        ),
    ],
)
def test_names_that_leave_open_what_they_mean_are_refused(
    names: list[str], classes: list[str], words: str, mended: list[str]
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        matched(names, classes, "d")
    assert "\n" not in str(caught.value)
    assert matched(mended, classes, "d") == {name: classes.index(name) for name in mended}


@pytest.mark.parametrize(
    "name", ["..", "../../etc/x", ".hidden", "/root", "a//b", "two\nlines", "a\\b", "x" * 300, "é" * 150]
)
def test_no_class_leaves_the_folder_or_hides_in_it(name: str, tmp_path: Path) -> None:
    (folder,) = folder_names([name])
    (tmp_path / folder).mkdir()
    assert [path.name for path in tmp_path.glob("[!.]*")] == [folder]
    assert folder_names(["-", "sea lake", "0.5mm", "a/b"]) == ("-", "sea lake", "0.5mm", "a/b")
