"""Kinds of input × verbs: each works, or is skipped and reported, by one rule in all verbs.

Those that are refused are in `test_refused_inputs`.

`check`, `plan`, `train`, `evaluate`, `predict`, `compare` and `audit` are given images; `card` and `export` are given
a model's folder alone. `plan` and `audit` read names only: what is inside an image is none of theirs.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from dpmix.files import read_json
from dpmix.release.statement import read_statement
from tests.data.test_pixels import SEEN
from tests.own.drawn import draw, split_folders
from tests.own.verbs import VERBS, Call

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow, pytest.mark.timeout(900)]


def both_sides(root: Path, lay: Callable[[Path, int], None]) -> Path:
    """A folder of two classes in train and test, each with what `lay` writes into it."""
    for number, folder in enumerate(f"{split}/{name}" for split in ("train", "test") for name in ("cat", "été dog")):
        (root / folder).mkdir(parents=True)
        lay(root / folder, number)
    return root


def pictures(folder: Path, number: int) -> None:
    for place, (name, data, _) in enumerate(SEEN.values()):
        (folder / f"{place} ä 犬 {number}{Path(name).suffix}").write_bytes(data())
    Image.new("RGB", (1, 1), (9 * number, 0, 0)).save(folder / "dot.png")
    Image.new("RGB", (2500, 40), (0, 9 * number, 0)).save(folder / "..wide.png".lstrip("."))
    frames = [Image.new("P", (8, 8), color) for color in (number, 5)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    for mode in ("RGBA", "1", "CMYK"):
        Image.new(mode, (7, 31 + number)).save(folder / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}")


LITTER = (
    ".DS_Store", "Thumbs.db", "._1.png", ".hidden.png", "@eaDir/thumbnail.png", "notes.txt", "empty/", "gone.png",
)  # fmt: skip


def litter(root: Path) -> None:
    for name in LITTER:
        path = root / "train" / "cat" / name
        path.parent.mkdir(exist_ok=True)
        if name == "gone.png":
            path.symlink_to("nowhere.png")
        elif name.endswith("/"):
            path.mkdir()
        else:
            path.write_bytes(b"a text")


def test_pictures_of_every_kind_work_and_litter_is_skipped_by_every_verb(call: Call) -> None:
    root = both_sides(Path("mine"), pictures)
    each = len(list((root / "test" / "cat").iterdir()))
    litter(root)
    said = {verb: call(verb, root) for verb in VERBS}
    assert {verb: one.status for verb, one in said.items()} == dict.fromkeys(VERBS, 0)
    train = 2 * each
    assert f"mine: {train} training images and {train} test images of 2 classes" in said["check"].out
    for verb in ("plan", "train", "compare"):
        assert f"mine: {train} training images and {train} test images of 2 classes" in said[verb].all
    assert f"{train} test images" in said["evaluate"].out
    assert len(said["predict"].out.splitlines()) == 1 + 2 * train
    assert read_statement("model/model.safetensors").population == train
    # Each verb that names what it skips names the same; train counts it, and says who names it.
    for name in ("notes.txt", "empty", "gone.png"):
        assert name in said["check"].out
        assert name in said["predict"].err
    assert "of an operating system" in said["check"].out or "that an operating system left there" in said["check"].out
    assert f"({len(LITTER)} files are not used; dpmix check mine says why)" in said["train"].err


def one_root(root: Path) -> Path:
    return draw(root, 20)


def archived(root: Path) -> Path:
    made = shutil.make_archive(str(root), "zip", split_folders(root))
    shutil.rmtree(root)
    return Path(made).relative_to(Path.cwd())


def archives_of_splits(root: Path) -> Path:
    split_folders(root)
    for split in ("train", "test"):
        shutil.make_archive(str(root / split), "zip", root / split)
        shutil.rmtree(root / split)
    return root


def rows(root: Path, persons: bool = False) -> Iterator[dict[str, str]]:
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        split, label, name = path.relative_to(root).parts
        row = {"file_name": f"{split}/{label}/{name}", "label": f"a {label}", "split": split}
        yield row | ({"person": f"{split} {number % 12}"} if persons else {})


def table(root: Path, place: str = "{root}/labels.csv", persons: bool = False) -> Path:
    listed = list(rows(split_folders(root), persons))
    path = Path(place.format(root=root))
    path.write_text("\n".join([",".join(listed[0]), *(",".join(row.values()) for row in listed)]), encoding="utf-8")
    return path


def table_inside(root: Path) -> Path:
    return table(root).parent


def table_beside(root: Path) -> Path:
    table(root, "{root}.csv")
    return root


def hugging_face(root: Path, ending: str) -> Path:
    """A Hugging Face image folder: the images of a split in one folder, with its metadata."""
    listed = list(rows(split_folders(root)))
    for split in ("train", "test"):
        found = []
        for number, row in enumerate(one for one in listed if one["split"] == split):
            (root / row["file_name"]).rename(root / split / f"{number:04d}.png")
            found.append({"file_name": f"{number:04d}.png", "label": row["label"], "text": "is not read"})
        for empty in [path for path in (root / split).iterdir() if path.is_dir()]:
            empty.rmdir()
        if ending == "csv":
            lines = [",".join(found[0]), *(",".join(row.values()) for row in found)]
        else:
            lines = [json.dumps(row) for row in found]
        (root / split / f"metadata.{ending}").write_text("\n".join(lines), encoding="utf-8")
    return root


LAYOUTS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "train and test": (split_folders, ()),
    "one root": (one_root, ()),
    "an archive": (archived, ()),
    "archives of splits": (archives_of_splits, ()),
    "a table by its path": (table, ()),
    "a table inside": (table_inside, ()),
    "a table beside": (table_beside, ()),
    "a table of persons": (lambda root: table(root, persons=True), ("--unit", "person")),
    "metadata.csv": (lambda root: hugging_face(root, "csv"), ()),
    "metadata.jsonl": (lambda root: hugging_face(root, "jsonl"), ()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_the_same_images_to_every_verb(layout: str, call: Call) -> None:
    lay, options = LAYOUTS[layout]
    images = lay(Path("mine"))
    unit = "person" if options else "image"
    said = {verb: call(verb, images, *(options if verb not in ("evaluate", "predict") else ())) for verb in VERBS}
    assert {verb: (one.status, one.err) for verb, one in said.items() if one.status} == {}
    (found,) = re.findall(r": (\d+) training images(?: of (\d+) persons)? and (\d+) test images", said["check"].out)
    train, persons, test = (int(number or 0) for number in found)
    assert train + test == (60 if layout == "one root" else 39)
    units = persons if options else train
    for verb in ("plan", "train", "compare"):
        assert f": {units} training {unit}s and " in said[verb].all
    statement = read_statement("model/model.safetensors")
    assert (statement.population, statement.unit) == (units, unit)
    names = read_json(Path("model/config.json"))["label_names"]
    folders = ["bile", "blood", "water"]
    assert names == (folders if "table" not in layout and "metadata" not in layout else [f"a {one}" for one in folders])
    assert f"{test} test images" in said["evaluate"].out
    assert len(said["predict"].out.splitlines()) == 1 + train + test
    assert f"N = {units:,}" in said["audit"].out or f"{units:,} {unit}s" in said["audit"].out


def test_three_hundred_classes_and_a_class_with_one_image(call: Call) -> None:
    for number in range(300):
        for split, count in (("train", 1 + (number < 30)), ("test", number < 2)):
            for index in range(count):
                path = Path("mine", split, f"{number:03d}", f"{index}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (number % 256, 9 * index, 90 * (split == "test"))).save(path)
    for verb in VERBS:
        said = call(verb, "mine")
        assert (verb, said.status) == (verb, 0), said.err
        if verb in ("check", "plan", "train", "compare"):
            assert "330 training images and 2 test images of 300 classes" in said.all
