"""A set is resumed to the same set, and what was lost or changed is noticed."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dpmix.data.images import load
from dpmix.data.store import pack_images
from dpmix.errors import DataError, ParamsError
from dpmix.synthesis import draw as synthesis_draw
from dpmix.synthesis.draw import synthesize
from dpmix.synthesis.folder import gather, load_synthetic
from tests.synthesis.conftest import CLASSES, SETTINGS, pixels

pytestmark = pytest.mark.filterwarnings("ignore")


def test_an_interrupted_set_resumes_to_the_same_set(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One image at a time: then arithmetic is the same too, and the digests must agree.
    settings = {**SETTINGS, "batch_size": 1}
    synthesize(model, CLASSES, 6, tmp_path / "whole", **settings)
    sample, calls = synthesis_draw._sample, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return sample(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(synthesis_draw, "_sample", interrupted)
        with pytest.raises(KeyboardInterrupt):
            synthesize(model, CLASSES, 6, tmp_path / "parts", **settings)
    assert len(pixels(tmp_path / "parts")) == 3
    with pytest.raises(DataError, match="no finished synthetic set"):
        load_synthetic(tmp_path / "parts")

    # A line cut short and an image that was lost are both made again.
    with (tmp_path / "parts" / "manifest.jsonl").open("a") as journal:
        journal.write('{"index": 3, "fil')
    (tmp_path / "parts" / lines_file(tmp_path / "parts", 1)).unlink()
    leftover = tmp_path / "parts" / "one" / ".000003-x1y2.png"
    leftover.write_bytes(b"half an image")
    synthesize(model, CLASSES, 6, tmp_path / "parts", **settings)
    assert not leftover.exists()
    assert load_synthetic(tmp_path / "parts").digest == load_synthetic(tmp_path / "whole").digest


def lines_file(out: Path, index: int) -> str:
    for text in (out / "manifest.jsonl").read_text().splitlines():
        if f'"index": {index},' in text:
            return str(json.loads(text)["file"])
    raise AssertionError(f"no line for image {index}")


def test_a_finished_set_is_left_alone_and_can_grow(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "set"
    synthesize(model, CLASSES, 3, out, **SETTINGS)
    before = pixels(out)
    with monkeypatch.context() as patched:
        patched.setattr(synthesis_draw, "load_pipeline", lambda *a: pytest.fail("the model was loaded for nothing"))
        synthesize(model, CLASSES, 3, out, **SETTINGS)
    synthesize(model, CLASSES, 5, out, **SETTINGS)
    after = pixels(out)
    assert len(after) == 5
    assert all(np.array_equal(image, after[name]) for name, image in before.items())
    with pytest.raises(ParamsError, match="no part of the 4 images asked for"):
        synthesize(model, CLASSES, 4, out, **SETTINGS)
    with pytest.raises(ParamsError, match="another guidance_scale"):
        synthesize(model, CLASSES, 5, out, **{**SETTINGS, "guidance_scale": 2.0})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda image: image.unlink(), r"two/000001\.png is missing"),
        (lambda image: image.write_bytes(image.read_bytes()[:-1]), r"two/000001\.png is not the image that was made"),
    ],
)
def test_a_lost_or_damaged_image_is_noticed_and_made_again(
    model: Path, tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    out = tmp_path / "set"
    # One image at a time: then arithmetic is the same when one is made alone, and the digests must agree.
    settings = {**SETTINGS, "batch_size": 1}
    synthesize(model, CLASSES, 3, out, **settings)
    before = load_synthetic(out)
    damage(before.paths[1])
    with pytest.raises(DataError, match=words) as caught:
        load_synthetic(out)
    assert "\n" not in str(caught.value)
    # What it says to do is what helps.
    assert f"delete {out / 'manifest.json'} and run the same command again" in str(caught.value)
    (out / "manifest.json").unlink()
    kept = {path: path.stat().st_mtime_ns for path in (before.paths[0], before.paths[2])}
    synthesize(model, CLASSES, 3, out, **settings)
    assert load_synthetic(out).digest == before.digest
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("manifest.jsonl", '"file": "three/', '"file": "one/', "manifest.jsonl does not match"),
        ("manifest.jsonl", '"index": 2, ', "", "manifest.jsonl does not match manifest.json"),
        ("manifest.json", '"count": 3', '"count": 4', "manifest.json was damaged or changed after it was written"),
    ],
)
def test_a_manifest_that_was_changed_is_noticed(
    model: Path, tmp_path: Path, name: str, old: str, new: str, words: str
) -> None:
    out = tmp_path / "set"
    synthesize(model, CLASSES, 3, out, **SETTINGS)
    text = (out / name).read_text()
    assert old in text
    (out / name).write_text(text.replace(old, new))
    with pytest.raises(DataError, match=re.escape(words)):
        load_synthetic(out)


def given(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        for index in range(count):
            path = root / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4, 3), 10 * len(name) + index, dtype=np.uint8)).save(path)
    return root


@pytest.mark.parametrize("zipped", [False, True])
def test_given_images_become_a_set_like_any_other(tmp_path: Path, zipped: bool) -> None:
    source = given(tmp_path / "d", {"AnnualCrop": 2, "sea lake": 1})
    if zipped:
        source = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", source))
    gather(source, ("sea lake", "annual crop"), 3, tmp_path / "set")
    found = load_synthetic(tmp_path / "set")
    assert found.labels.tolist() == [0, 1, 1]
    assert [path.parent.name for path in found.paths] == ["sea lake", "annual crop", "annual crop"]
    assert [int(np.asarray(Image.open(path)).max()) for path in found.paths] == [80, 100, 101]
    pack_images(found.paths, found.labels, found.classes, 4, tmp_path / "store")
    assert load(tmp_path / "store").labels.tolist() == [0, 1, 1]
    again = tmp_path / "again"
    gather(source, ("sea lake", "annual crop"), 3, again)
    assert load_synthetic(again).digest == found.digest


@pytest.mark.parametrize(
    ("classes", "count", "words"),
    [
        (("one", "two", "three"), 3, "has no images of class 'three'; add a folder of them"),
        (("one",), 3, "has a folder 'two', which is no class of this data set"),
        (("one", "two"), 4, "holds 3 images, not 4; give their number under synthetic_size"),
    ],
)
def test_given_images_that_do_not_fit_are_one_line(
    tmp_path: Path, classes: tuple[str, ...], count: int, words: str
) -> None:
    source = given(tmp_path / "d", {"one": 1, "two": 2})
    with pytest.raises(DataError, match=words) as caught:
        gather(source, classes, count, tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set").exists()


def test_damaged_images_are_all_named_and_can_be_left_out(tmp_path: Path) -> None:
    source = given(tmp_path / "d", {"one": 3, "two": 2})
    for place in ("one/1.png", "two/0.png"):
        (source / place).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"^2 images are damaged: .*one/1\.png .*two/0\.png .*by skip_damaged"):
        gather(source, ("one", "two"), 5, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    gather(source, ("one", "two"), 3, tmp_path / "set", skip_damaged=True)
    assert load_synthetic(tmp_path / "set").labels.tolist() == [0, 0, 1]


def test_classes_that_differ_by_case_get_their_own_images(tmp_path: Path) -> None:
    source = given(tmp_path / "d", {"A": 2})
    Image.new("RGB", (4, 4), (200, 200, 200)).save((source / "a").mkdir() or source / "a" / "0.png")
    gather(source, ("a", "A"), 3, tmp_path / "set")
    found = load_synthetic(tmp_path / "set")
    assert [int(np.asarray(Image.open(path)).max()) for path in found.paths] == [200, 10, 11]
    assert found.labels.tolist() == [0, 1, 1]
