"""Classes of every kind of name stay distinct by every door, or are refused in one line."""

import csv
import io
import json
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix.data.folders import class_files, read_public
from dpmix.data.images import load
from dpmix.data.listing import read_listing
from dpmix.data.sources import prepare
from dpmix.errors import DataError
from dpmix.synthesis.folder import gather, load_synthetic
from tests.data.conftest import archive, spec_of

# Two classes each; the images of the first are dark, and those of the second light.
NAMES = {
    "spaces": ("dark side", "light side"),
    "quotes": ('it\'s "dark"', "it's 'light'"),
    "the shell's": ("a & b; rm -rf *", "$(c) | `d`"),
    "braces": ("{}", "{name}"),
    "ours": ("cats-synthetic-16px", "cats"),
    "dashes": ("-dark", "--light"),
    "dots": ("1.dark", "dark."),
    "only case": ("A", "a"),
    "only a number": ("0.5mm", "1.5mm"),
    "only Caltech's number": ("001.cat", "002.cat"),
    "accents": ("Grün", "Grun"),
    "decomposed accents": ("Gru\u0308n", "Grun"),
    "other alphabets": ("猫", "犬"),
    "formulas": ("=1+1", "@x"),
    "commas": ("a,b", "a;b"),
    "words of splits": ("training wheels", "test tube"),
    "words of YAML": ("yes", "null"),
    "numbers": ("1", "01"),
}

GIVEN = [("train", 0), ("train", 1), ("test", 2)]


def picture(light: bool) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 200, 200) if light else (10, 10, 10)).save(written, "PNG")
    return written.getvalue()


def members(names: Sequence[str], splits: bool = True) -> list[tuple[str, bytes]]:
    return [
        (f"{split}/{name}/{index}.png" if splits else f"{name}/{split}-{index}.png", picture(bool(light)))
        for light, name in enumerate(names)
        for split, index in GIVEN
    ]


def folder(root: Path, names: Sequence[str], splits: bool = True) -> Path:
    for place, content in members(names, splits):
        path = root / "set" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root / "set"


def zipped(root: Path, names: Sequence[str]) -> Path:
    return archive(root / "set.zip", members(names))


def table(root: Path, names: Sequence[str]) -> Path:
    """A table with a byte order mark, of files that are called otherwise."""
    root.mkdir(parents=True, exist_ok=True)
    rows = [["file_name", "label", "split"]]
    for light, name in enumerate(names):
        for split, index in GIVEN:
            (root / f"{light}-{index}.png").write_bytes(picture(bool(light)))
            rows.append([f"{light}-{index}.png", name, split])
    with (root / "set.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(rows)
    return root / "set.csv"


def hugging_face(root: Path, names: Sequence[str]) -> Path:
    for split in ("train", "test"):
        (root / "set" / split).mkdir(parents=True)
        with (root / "set" / split / "metadata.jsonl").open("w", encoding="utf-8") as file:
            for light, name in enumerate(names):
                for of, index in GIVEN:
                    if of == split:
                        (root / "set" / split / f"{light}-{index}.png").write_bytes(picture(bool(light)))
                        file.write(json.dumps({"file_name": f"{light}-{index}.png", "label": name}) + "\n")
    return root / "set"


FORMS: dict[str, Callable[[Path, Sequence[str]], Path]] = {
    "folder": folder,
    "zip": zipped,
    "table": table,
    "Hugging Face": hugging_face,
}


def shown(classes: Sequence[str], labels: Sequence[int], levels: Sequence[int]) -> dict[str, set[int]]:
    """The levels of the images of each class."""
    found: dict[str, set[int]] = {name: set() for name in classes}
    for label, level in zip(labels, levels, strict=True):
        found[classes[label]].add(level)
    return found


def levels(paths: Sequence[Path | io.BytesIO]) -> list[int]:
    return [int(np.asarray(Image.open(path)).max()) for path in paths]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", NAMES)
def test_classes_stay_distinct(kind: str, form: str, tmp_path: Path) -> None:
    root = FORMS[form](tmp_path, NAMES[kind])
    dark, light = (unicodedata.normalize("NFC", name) for name in NAMES[kind])
    expected = {dark: {10}, light: {200}}
    listing = read_listing(root)
    assert listing.classes == tuple(sorted(expected))
    listed = [io.BytesIO(listing.files[image.place].read()) for image in listing.images]
    assert shown(listing.classes, [image.label for image in listing.images], levels(listed)) == expected
    prepare(spec_of(root, 2, 4, 2), 8, tmp_path, tmp_path / "store")
    store = load(tmp_path / "store")
    assert shown(store.classes, store.labels.tolist(), store.images[:, 0, 0, 0].tolist()) == expected
    gather(root, store.classes[::-1], 4, tmp_path / "d")
    d = load_synthetic(tmp_path / "d")
    assert shown(d.classes, d.labels.tolist(), levels(d.paths)) == expected
    assert all(path.is_relative_to(tmp_path / "d") for path in d.paths)
    public = read_public(root, 8, classes=store.classes)
    assert shown(public.classes, public.labels.tolist(), public.images[:, 0, 0, 0].tolist()) == expected
    assert len(set(read_public(root, 8).classes)) == 2


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("two\nlines", "b"), "has letters that cannot be printed"),
        ((os.fsdecode(b"caf\xe9"), "b"), "is not in UTF-8"),
        (("cat", "cat "), "read the same; rename one or lay them together"),
        (("Gru\u0308n", "Grün"), "read the same; rename one or lay them together"),
        (("\ufeffcat", "cat"), "read the same; rename one or lay them together"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(names: tuple[str, str], words: str, tmp_path: Path) -> None:
    root = folder(tmp_path, names)
    doors: list[Callable[[], object]] = [
        lambda: read_listing(root),
        lambda: prepare(spec_of(root, 2, 4, 2), 8, tmp_path, tmp_path / "store"),
        lambda: class_files(root),
        lambda: gather(root, ("a", "b"), 4, tmp_path / "d"),
        lambda: read_public(root, 8),
    ]
    for door in doors:
        with pytest.raises(DataError, match=words) as caught:
            door()
        assert len(str(caught.value).splitlines()) == 1
        str(caught.value).encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_one_class_may_be_written_either_way_in_either_split(tmp_path: Path) -> None:
    for split, name in (("train", "Gru\u0308n"), ("test", "Grün")):
        for each in (name, "rot"):
            (tmp_path / "set" / split / each).mkdir(parents=True)
            (tmp_path / "set" / split / each / "1.png").write_bytes(picture(True))
    assert read_listing(tmp_path / "set").classes == ("Grün", "rot")
    prepare(spec_of(tmp_path / "set", 2, 2, 2), 8, tmp_path, tmp_path / "store")
    assert load(tmp_path / "store", "test").labels.tolist() == [0, 1]
