import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dpmix import synthesis
from dpmix.datasets import load, pack_images
from dpmix.demo import diffusion
from dpmix.demo.strokes import draw
from dpmix.errors import DataError, DpmixError, ParamsError
from dpmix.synthesis import fetch_model, gather, load_synthetic, spoken, synthesize

pytestmark = pytest.mark.filterwarnings("ignore")
CLASSES = ("one", "group/two", "three")
SETTINGS: dict[str, Any] = {"guidance_scale": 1.0, "steps": 2, "resolution": 16, "batch_size": 4}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real pipeline after two steps of training: it loads and samples as the demo's does."""
    folder = tmp_path_factory.mktemp("model") / "diffusion"
    images, labels = draw(32, seed=0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(diffusion, "_AUTOENCODER_STEPS", 2)
        patched.setattr(diffusion, "_UNET_STEPS", 2)
        diffusion.train_diffusion(images, labels % 3, ("one", "group two", "three"), folder, seed=0)
    return folder


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def pixels(out: Path) -> dict[str, np.ndarray]:
    return {str(path.relative_to(out)): np.asarray(Image.open(path)) for path in sorted(out.rglob("*.png"))}


def test_a_set_is_balanced_described_and_finished(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    synthesize(model, CLASSES, 8, out, seed=5, **SETTINGS)
    found = load_synthetic(out)
    assert found.classes == CLASSES
    assert np.bincount(found.labels).tolist() == [3, 3, 2]
    assert [path.parent for path in found.paths[:3]] == [out / name for name in CLASSES]
    assert all(Image.open(path).size == (16, 16) for path in found.paths)
    first = lines(out)[1]
    assert first["prompt"] == "a photo of a group two"
    assert first["model"] == str(model)
    assert first["safety_redraws"] == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["count"], manifest["digest"]) == (8, found.digest)
    assert len({line["seed"] for line in lines(out)}) == 8


def test_the_batch_size_and_the_count_change_no_seed(model: Path, tmp_path: Path) -> None:
    synthesize(model, CLASSES, 5, tmp_path / "a", **SETTINGS)
    synthesize(model, CLASSES, 7, tmp_path / "b", **{**SETTINGS, "batch_size": 3})
    assert [line["seed"] for line in lines(tmp_path / "a")] == [line["seed"] for line in lines(tmp_path / "b")[:5]]
    one, two = pixels(tmp_path / "a"), pixels(tmp_path / "b")
    for name, image in one.items():  # batched arithmetic may round differently
        assert np.abs(image.astype(int) - two[name].astype(int)).max() <= 2


def test_an_interrupted_set_resumes_to_the_same_set(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One image at a time: then arithmetic is the same too, and the digests must agree.
    settings = {**SETTINGS, "batch_size": 1}
    synthesize(model, CLASSES, 6, tmp_path / "whole", **settings)
    sample, calls = synthesis._sample, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return sample(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(synthesis, "_sample", interrupted)
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
        patched.setattr(synthesis, "_load", lambda *a: pytest.fail("the model was loaded for nothing"))
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
        ("manifest.jsonl", '"index": 2, ', "", "its manifest lacks what it should say ('index')"),
        ("manifest.json", '"count": 3', '"count": 4', "manifest.jsonl does not match"),
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


def test_rejected_images_are_drawn_again_with_another_seed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesize(model, CLASSES, 4, tmp_path / "clean", **SETTINGS)
    sample = synthesis._sample
    first = lines(tmp_path / "clean")[2]["seed"]
    seen: list[int] = []

    def checked(pipeline: Any, captions: list[str], seeds: list[int], *rest: Any) -> Any:
        seen.extend(seeds)
        images, _ = sample(pipeline, captions, seeds, *rest)
        return images, [seed == first for seed in seeds]

    monkeypatch.setattr(synthesis, "_sample", checked)
    synthesize(model, CLASSES, 4, tmp_path / "set", **SETTINGS)
    redrawn = lines(tmp_path / "set")[2]
    assert redrawn["safety_redraws"] == 1
    assert redrawn["seed"] != first
    assert len(seen) == len(set(seen)) == 5
    assert [line["safety_redraws"] for line in lines(tmp_path / "set")] == [0, 0, 1, 0]
    assert json.loads((tmp_path / "set" / "manifest.json").read_text())["safety_redraws"] == 1

    monkeypatch.setattr(synthesis, "_sample", lambda p, captions, *r: ([None] * len(captions), [True] * len(captions)))
    with pytest.raises(DataError, match="rejected 21 images of 'a photo of a one' in a row"):
        synthesize(model, CLASSES, 1, tmp_path / "never", **SETTINGS)


def test_the_safety_checker_is_listened_to() -> None:
    """What diffusers says about each image reaches the caller."""

    class Output:
        images = ("first", "second")
        nsfw_content_detected = (False, True)

    images, rejected = synthesis._sample(lambda *a, **k: Output(), ["a", "b"], [1, 2], 1.0, 2, 16)
    assert (images, rejected) == (["first", "second"], [False, True])


def test_images_can_be_saved_smaller(model: Path, tmp_path: Path) -> None:
    synthesize(model, CLASSES, 2, tmp_path / "set", saved_resolution=8, **SETTINGS)
    assert [Image.open(path).size for path in load_synthetic(tmp_path / "set").paths] == [(8, 8), (8, 8)]


def test_guidance_changes_the_image(model: Path, tmp_path: Path) -> None:
    synthesize(model, CLASSES, 1, tmp_path / "a", **SETTINGS)
    synthesize(model, CLASSES, 1, tmp_path / "b", **{**SETTINGS, "guidance_scale": 9.0})
    assert load_synthetic(tmp_path / "a").digest != load_synthetic(tmp_path / "b").digest


@pytest.mark.parametrize("scheduler", [name for name in synthesis.SCHEDULERS if name != "default"])
def test_every_scheduler_exists_in_diffusers(scheduler: str) -> None:
    import diffusers

    assert hasattr(getattr(diffusers, scheduler), "from_config")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": "Magic"}, "no scheduler is called 'Magic'"),
        ({"resolution": 20}, "multiple of 8"),
        ({"prompt": "a digit"}, "does not name the class"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"saved_resolution": 32}, "between 1 and 16"),
        ({"classes": ("one", "one")}, "differ from each other"),
        ({"classes": ("../escape",)}, "cannot name a folder"),
        ({"classes": ("/etc",)}, "cannot name a folder"),
    ],
)
def test_impossible_settings_are_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"classes": CLASSES, **SETTINGS, **changes}
    with pytest.raises(ParamsError, match=message) as caught:
        synthesize(tmp_path / "absent", settings.pop("classes"), 4, tmp_path / "out", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_and_broken_models_are_one_line(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for path, message in (
        (tmp_path / "absent", "there is no model folder"),
        (tmp_path / "empty", "model_index.json is missing"),
        (tmp_path / "broken", "could not be loaded"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            synthesize(path, CLASSES, 4, tmp_path / "out", **SETTINGS)
        assert "\n" not in str(caught.value)


def test_without_network_a_hub_model_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    def offline(*arguments: Any, **options: Any) -> Any:
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", offline)
    with pytest.raises(DataError, match="hf download CompVis/stable-diffusion-v1-4") as caught:
        fetch_model("CompVis/stable-diffusion-v1-4", tmp_path / "out", "133a221b8aa7292a167afc5127cb63fb5005638b")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_fetched_model_samples_as_the_original(model: Path, tmp_path: Path) -> None:
    fetch_model(str(model), tmp_path / "copy")
    for name, source in (("a", model), ("b", tmp_path / "copy")):
        synthesize(source, CLASSES, 2, tmp_path / name, **SETTINGS)
    assert load_synthetic(tmp_path / "a").digest == load_synthetic(tmp_path / "b").digest


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write: Callable[..., Any] = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(write(path, data))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DpmixError, match="No space left on device; free space"):
        synthesize(model, CLASSES, 3, tmp_path / "out", **SETTINGS)
    assert not list((tmp_path / "out").rglob("*.png"))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_seeds_are_keyed_by_image_and_redraw() -> None:
    seeds = {synthesis.image_seed(0, i, r) for i in range(50) for r in range(3)}
    assert len(seeds) == 150


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
    ],
)
def test_class_names_are_spoken_plainly(name: str, caption: str) -> None:
    assert spoken(name) == caption


def test_memory_that_runs_out_is_one_line() -> None:
    def pipeline(*arguments: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ParamsError, match="lower batch_size"):
        synthesis._sample(pipeline, ["a"], [1], 1.0, 2, 16)


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


@pytest.mark.parametrize(
    ("folders", "classes", "words"),
    [
        (("a_b", "a b"), ("a b",), "has folders 'a b' and 'a_b', which both read 'a b'; rename one"),
        (("a b",), ("a_b", "A-b"), "the data set has classes 'a_b' and 'A-b', which both read 'a b'; rename one"),
    ],
)
def test_no_two_folders_or_classes_become_one(
    tmp_path: Path, folders: tuple[str, ...], classes: tuple[str, ...], words: str
) -> None:
    source = given(tmp_path / "d", dict.fromkeys(folders, 1))
    with pytest.raises(DataError, match=words) as caught:
        gather(source, classes, len(classes), tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set").exists()
