"""Kinds of input that each verb refuses, in one line and by one rule, and damaged images."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.test_pixels import REFUSED as UNREADABLE
from tests.own.drawn import draw, split_folders
from tests.own.verbs import Call

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow, pytest.mark.timeout(900)]

READERS = ("check", "plan", "train", "compare", "audit", "evaluate")


def one_class(root: Path) -> None:
    for split in ("train", "test"):
        for name in ("blood", "water"):
            shutil.rmtree(root / split / name)


def nothing(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.unlink()


def labels(root: Path, text: str) -> None:
    (root / "labels.csv").write_text(text, encoding="utf-8")


def no_training_image(root: Path) -> None:
    (root / "train" / "blood").rename(root / "test" / "pus")


def linked(root: Path) -> None:
    os.link(root / "train/blood/0.png", root / "train/blood/again.png")


def a_damaged_archive(root: Path) -> None:
    shutil.rmtree(root)
    Path("mine.zip").write_bytes(b"PK\x03\x04 and no more")


def a_locked_archive(root: Path) -> None:
    shutil.rmtree(root)
    with zipfile.ZipFile("mine.zip", "w") as file:
        file.writestr("train/cat/1.png", b"")
    content = bytearray(Path("mine.zip").read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1  # says that it is encrypted
    Path("mine.zip").write_bytes(content)


# Each: how a sound folder is spoiled, what is then named, and the words of all verbs, which `evaluate` needs not heed
# where it is about training.
REFUSED: dict[str, tuple[Callable[[Path], None], str, str, bool]] = {
    "not there": (shutil.rmtree, "mine", "mine does not exist", True),
    "a text": (lambda root: Path("a.txt").write_text("?") and None, "a.txt", "a.txt is no folder, zip archive", True),
    "no image": (nothing, "mine", "holds no image", True),
    "one class": (one_class, "mine", "all images are of one class, bile", False),
    "a class that is only tested": (no_training_image, "mine", "such as blood, have no training image", False),
    "no test image": (lambda root: shutil.rmtree(root / "test"), "mine", "test", False),
    "one file by two names": (linked, "mine", "there under several names", False),
    "a table that names no file": (lambda root: labels(root, "file_name,label\n1.png,a"), "mine", "1.png", True),
    "a table with two lines": (
        lambda root: labels(root, "file_name,label\ntrain/blood/0.png,a\ntrain/blood/0.png,b"),
        "mine",
        "are about the same file",
        True,
    ),
    "a table without labels": (
        lambda root: labels(root, "file_name\ntrain/blood/0.png"), "mine/labels.csv", "has no column label", True,
    ),
    "a damaged archive": (a_damaged_archive, "mine.zip", "mine.zip", True),
    "a locked archive": (a_locked_archive, "mine.zip", "mine.zip", True),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_so_by_every_verb_in_one_line(kind: str, call: Call) -> None:
    spoil, images, words, always = REFUSED[kind]
    root = split_folders(Path("mine"))
    assert call("train", root).status == 0
    Path("mine.dpmix-spent.json").unlink()
    spoil(root)
    before = sorted(str(path) for path in Path().rglob("*"))
    lines = {}
    for verb in READERS if always else READERS[:-1]:
        said = call(verb, images, *(("--output", "other") if verb == "train" else ()))
        assert (verb, said.status) == (verb, 1), said
        assert words in said.all, verb
        if verb == "check" and not said.err:  # all that it has to say, of which this is a part
            assert "Mend before training:" in said.out
            continue
        (lines[verb],) = said.err.splitlines()
        assert (said.out, lines[verb][:7]) == ("", "error: ")
    assert sorted(str(path) for path in Path().rglob("*")) == before
    # One rule: what keeps any of them from reading the images is the same sentence.
    same = {line.replace(f"{Path.cwd()}/", "") for line in lines.values() if "does not exist" not in line}
    assert len(same) <= 1 + (not always), same


@pytest.mark.parametrize("kind", ["no image inside", *UNREADABLE])
def test_damaged_images_are_named_and_left_out_by_the_same_word(
    kind: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "too many":
        monkeypatch.setattr("dpmix.data.pixels.MOST_PIXELS", 8000)
    root = split_folders(Path("mine"))
    name, data = UNREADABLE[kind][:2] if kind in UNREADABLE else ("1.png", lambda: b"no image")
    bad = [root / split / "blood" / f"bad{Path(name).suffix}" for split in ("train", "test")]
    for path in bad:
        path.write_bytes(data())
    for verb in ("check", "train", "compare"):
        said = call(verb, root)
        assert (verb, said.status) == (verb, 1)
        assert [str(path.relative_to(root)) in said.all for path in bad] == [True, True], said
        if verb != "check":
            (line,) = (line for line in said.err.splitlines() if line.startswith("error: "))
            assert line.endswith("; replace or remove them, or leave out by --skip-damaged")
    assert not Path("model").exists()
    # By that word all verbs have the same images.
    for verb in ("check", "plan", "train", "compare"):
        said = call(verb, root, "--skip-damaged")
        assert (verb, said.status) == (verb, 0), said
        assert "mine: 30 training images and 9 test images" in said.all
    # With a model, the others are read, and the damaged ones named.
    for verb in ("evaluate", "predict"):
        said = call(verb, root)
        assert (verb, said.status) == (verb, 1)
        assert len([line for line in said.err.splitlines() if line.startswith("skipped: ")]) == (
            2 if verb == "predict" else 1
        )
        assert "9 test images" in said.out or len(said.out.splitlines()) == 1 + 39


@pytest.mark.parametrize("verb", ["card", "export", "evaluate", "predict", "audit"])
def test_images_are_no_model(verb: str, call: Call) -> None:
    draw(Path("model"), 2)
    said = call(verb, "model")
    assert said.status in (1, 2)
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
