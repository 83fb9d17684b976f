"""What a message of the readers says to do works: by the commands and by params.yaml, whose words are the same."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from dpmix.data.folders import pool_of_folder
from dpmix.data.listing import read_listing
from dpmix.errors import DataError
from dpmix.own.images.fit import refuse_unfit
from tests.data.conftest import archive, lay

Change = Callable[[Path], object]


class Case(NamedTuple):
    """A folder `set` of cats and dogs that was broken, what is said of it, and what is to be done by that."""

    broken: Change
    words: str
    mended: Change


def write(root: Path, place: str, text: str, encoding: str = "utf-8") -> None:
    (root / place).write_text(text, encoding=encoding)


def unsplit(root: Path) -> None:
    """All images in class folders of the root itself."""
    for split in ("train", "test"):
        for path in [*(root / split).rglob("*.png")] if (root / split).is_dir() else []:
            (root / path.parent.name).mkdir(exist_ok=True)
            path.rename(root / path.parent.name / f"{split}-{path.name}")
        shutil.rmtree(root / split, ignore_errors=True)


def to_archives(root: Path, *splits: str) -> None:
    for split in splits:
        archive(root / f"{split}.zip", {f"{name}/{number}.png": b"" for name in ("cat", "dog") for number in range(4)})


def flat(root: Path) -> None:
    """All images in no folder, and a table of them without the last column that is asked for."""
    shutil.rmtree(root)
    lay(root, *(f"{number}.png" for number in range(8)))


def rows(last: str = "", columns: str = "file_name,label,split", first: int = 0) -> str:
    sides = ("train", "train", "test", "test")
    lines = [f"{number}.png,{('cat', 'dog')[number % 2]},{sides[number % 4]}" for number in range(first, 8)]
    return "\n".join([columns, *lines, last]).strip() + "\n"


def in_table(text: str, encoding: str = "utf-8") -> Change:
    return lambda root: (flat(root), write(root, "labels.csv", text, encoding))


def table(text: str) -> Change:
    return lambda root: write(root, "labels.csv", text)


TRAIN = "train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "train/dog/2.png"
TEST = "test/cat/1.png", "test/dog/1.png"
CASES: dict[str, Case] = {
    "it is not there": Case(
        shutil.rmtree, "does not exist; give a folder with a folder", lambda root: lay(root, *TRAIN, *TEST)
    ),
    "no class folders": Case(
        lambda root: (shutil.rmtree(root), lay(root, "1.png")),
        "holds no image in a class folder; 1.png is in no class folder; put each class's images into a folder",
        lambda root: lay(root, *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(20))),
    ),
    "one split, the other added": Case(
        lambda root: shutil.rmtree(root / "test"),
        "has a folder train but not both train and test; add the other, or put the class folders",
        lambda root: lay(root, *TEST),
    ),
    "one split, laid together": Case(
        lambda root: (
            shutil.rmtree(root / "test"),
            lay(root, *(f"train/{name}/{number}.png" for name in ("cat", "dog") for number in range(30))),
        ),
        "or put the class folders into .*set itself to have them split",
        unsplit,
    ),
    "an empty test set": Case(
        lambda root: [path.unlink() for path in (root / "test").rglob("*.png")],
        "has a folder train but not both train and test; add the other",
        lambda root: lay(root, *TEST),
    ),
    "a folder beside the splits": Case(
        lambda root: lay(root, "more/cat/1.png"),
        "beside them, more; move it into one of them, or away",
        lambda root: (root / "more").rename(root / "train" / "more"),
    ),
    "two names of a split": Case(
        lambda root: lay(root, "training_set/cat/7.png"),
        "train and training_set are names of one split; lay them together",
        lambda root: (
            shutil.copytree(root / "training_set", root / "train", dirs_exist_ok=True),
            shutil.rmtree(root / "training_set"),
        ),
    ),
    "a class that is only tested": Case(
        lambda root: lay(root, "test/owl/1.png"),
        "class '?owl'? has no training image; add some",
        lambda root: lay(root, "train/owl/1.png"),
    ),
    "archives beside images": Case(
        lambda root: to_archives(root, "train", "test"),
        "beside archives train and test; move either away",
        lambda root: [shutil.rmtree(root / split) for split in ("train", "test")],
    ),
    "one archive without the other": Case(
        lambda root: (shutil.rmtree(root), root.mkdir(), to_archives(root, "train")),
        r"has no archive test\*.zip beside the others; add it",
        lambda root: to_archives(root, "test"),
    ),
    "archives of other names": Case(
        lambda root: (shutil.rmtree(root), root.mkdir(), to_archives(root, "one", "two")),
        "holds zip archives but no images; give an archive by itself, or call them train.zip and test.zip",
        lambda root: ((root / "one.zip").rename(root / "train.zip"), (root / "two.zip").rename(root / "test.zip")),
    ),
    "a cell that is empty": Case(in_table(rows("1.png,,train", first=2)), "label is empty; fill it in", table(rows())),
    "a line too many": Case(
        in_table(rows("1.png,cat,train")), "about the same file 1.png; keep one", table(rows())
    ),
    "a file that is not there": Case(
        in_table(rows("9.png,cat,train")), "names a file that is not there: 9.png .*; correct the names", table(rows())
    ),
    "another word for a split": Case(
        in_table(rows("8.png,cat,fold 3").replace("8.png", "7.png").replace("7.png,dog,test\n", "")),
        "has the split 'fold 3'; write train or test",
        table(rows()),
    ),
    "another encoding": Case(
        in_table(rows().replace("cat", "Kätzchen"), "latin-1"), "is not UTF-8 .*; save it as CSV in", table(rows())
    ),
    "Excel's Unicode text": Case(in_table(rows(), "utf-16"), "is not UTF-8 .*; save it as CSV in UTF-8", table(rows())),
    "two tables": Case(
        lambda root: (in_table(rows())(root), write(root, "other.csv", rows())),
        "both say what is on images; move one away",
        lambda root: (root / "other.csv").unlink(),
    ),
    "folders that read the same": Case(
        lambda root: lay(root, "train/cat /1.png"),
        "'cat ' and 'cat' read the same; rename one or lay them together",
        lambda root: (root / "train" / "cat ").rename(root / "train" / "owl"),
    ),
    "a name that cannot be printed": Case(
        lambda root: lay(root, "train/two\nlines/1.png"),
        "cannot be printed, or is not in UTF-8; rename it",
        lambda root: (root / "train" / "two\nlines").rename(root / "train" / "two lines"),
    ),
}  # fmt: skip

DOORS: dict[str, Callable[[Path], object]] = {
    "a command": lambda root: refuse_unfit(read_listing(root)),
    "params.yaml": lambda root: pool_of_folder(root, 1),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", CASES)
def test_a_remedy_works(name: str, door: str, tmp_path: Path) -> None:
    case, root = CASES[name], lay(tmp_path / "set", *TRAIN, *TEST)
    DOORS[door](root)
    case.broken(root)
    with pytest.raises(DataError, match=case.words) as caught:
        DOORS[door](root)
    assert len(str(caught.value).splitlines()) == 1
    case.mended(root)
    DOORS[door](root)


# Layouts
def as_splits(train: str, test: str, *more: str) -> Change:
    return lambda root: lay(
        root, *(f"{split}/{name}/1.png" for split in (train, test, *more) for name in ("cat", "dog"))
    )


def linked(root: Path) -> None:
    lay(root, "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")
    lay(root.parent / "elsewhere", "1.png")
    (root / "train" / "cat").symlink_to(root.parent / "elsewhere")


LAYOUTS: dict[str, Change] = {
    "Train/Test": as_splits("Train", "Test"),
    "TRAIN/TEST": as_splits("TRAIN", "TEST"),
    "training_set/test_set": as_splits("training_set", "test_set"),
    "train/valid/test": as_splits("train", "test", "valid"),
    "wrapped": as_splits("set/images/train", "set/images/test"),
    "a server's thumbnails": lambda root: (
        as_splits("train", "test")(root),
        lay(root, "train/cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.png", "@eaDir/1.png", "__MACOSX/train/cat/._1.png"),
    ),
    "a linked folder": linked,
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_understood(name: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LAYOUTS[name](tmp_path / "set")
    root = Path("~/set")
    monkeypatch.setenv("HOME", str(tmp_path))
    if packed:
        shutil.copytree(tmp_path / "set", tmp_path / "plain")  # with files in place of links
        Path(shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path / "plain")).rename(tmp_path / "set.ZIP")
        root = Path("~/set.ZIP")
    listing = read_listing(root)
    assert (listing.classes, len(listing.of("train")), len(listing.of("test"))) == (("cat", "dog"), 2, 2)
    pool = pool_of_folder(root, 2)
    assert (pool.classes, pool.parts["train"].labels.tolist()) == (("cat", "dog"), [0, 1])
