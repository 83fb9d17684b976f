"""What is drawn: balanced, keyed by image, redrawn where it was rejected."""

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from dpmix.errors import DataError, DpmixError, ParamsError
from dpmix.synthesis import draw as synthesis_draw
from dpmix.synthesis.draw import synthesize
from dpmix.synthesis.folder import gather, load_synthetic
from tests.synthesis.conftest import CLASSES, SETTINGS, lines, pixels
from tests.synthesis.test_folder import given

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.filterwarnings("ignore")


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


def test_rejected_images_are_drawn_again_with_another_seed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesize(model, CLASSES, 4, tmp_path / "clean", **SETTINGS)
    sample = synthesis_draw._sample
    first = lines(tmp_path / "clean")[2]["seed"]
    seen: list[int] = []

    def checked(pipeline: Any, captions: list[str], seeds: list[int], *rest: Any) -> Any:
        seen.extend(seeds)
        images, _ = sample(pipeline, captions, seeds, *rest)
        return images, [seed == first for seed in seeds]

    monkeypatch.setattr(synthesis_draw, "_sample", checked)
    synthesize(model, CLASSES, 4, tmp_path / "set", **SETTINGS)
    redrawn = lines(tmp_path / "set")[2]
    assert redrawn["safety_redraws"] == 1
    assert redrawn["seed"] != first
    assert len(seen) == len(set(seen)) == 5
    assert [line["safety_redraws"] for line in lines(tmp_path / "set")] == [0, 0, 1, 0]
    assert json.loads((tmp_path / "set" / "manifest.json").read_text())["safety_redraws"] == 1

    monkeypatch.setattr(
        synthesis_draw, "_sample", lambda p, captions, *r: ([None] * len(captions), [True] * len(captions))
    )
    with pytest.raises(DataError, match="rejected 21 images of 'a photo of a one' in a row"):
        synthesize(model, CLASSES, 1, tmp_path / "never", **SETTINGS)


def test_the_safety_checker_is_listened_to() -> None:
    """What diffusers says about each image reaches the caller."""

    class Output:
        images = ("first", "second")
        nsfw_content_detected = (False, True)

    images, rejected = synthesis_draw._sample(lambda *a, **k: Output(), ["a", "b"], [1, 2], 1.0, 2, 16)
    assert (images, rejected) == (["first", "second"], [False, True])


def test_images_can_be_saved_smaller(model: Path, tmp_path: Path) -> None:
    synthesize(model, CLASSES, 2, tmp_path / "set", saved_resolution=8, **SETTINGS)
    assert [Image.open(path).size for path in load_synthetic(tmp_path / "set").paths] == [(8, 8), (8, 8)]


def test_guidance_changes_the_image(model: Path, tmp_path: Path) -> None:
    synthesize(model, CLASSES, 1, tmp_path / "a", **SETTINGS)
    synthesize(model, CLASSES, 1, tmp_path / "b", **{**SETTINGS, "guidance_scale": 9.0})
    assert load_synthetic(tmp_path / "a").digest != load_synthetic(tmp_path / "b").digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": "Magic"}, "no scheduler is called 'Magic'"),
        ({"resolution": 20}, r"resolution 20 is not a multiple of 8 pixels; choose (16|24)"),
        ({"prompt": "a digit"}, "does not name the class"),
        ({"steps": 0}, "steps 0 is below 1; raise it"),
        ({"batch_size": 0}, "batch_size 0 is below 1; raise it"),
        ({"saved_resolution": 32}, "between 1 and 16"),
        ({"classes": ("one", "one")}, "the class name 'one' is there twice"),
        ({"classes": ("../escape",)}, "cannot name a folder"),
        ({"classes": ("/etc",)}, "cannot name a folder"),
        ({"classes": "cat"}, r"not the text 'cat'; write \['cat'\]"),
    ],
)
def test_impossible_settings_are_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"classes": CLASSES, **SETTINGS, **changes}
    with pytest.raises(ParamsError, match=message) as caught:
        synthesize(tmp_path / "absent", settings.pop("classes"), 4, tmp_path / "out", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_misspelt_model_leaves_nothing_behind(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match="there is no model folder"):
        synthesize(tmp_path / "modle", CLASSES, 3, out, **SETTINGS)
    assert not out.exists()
    synthesize(model, CLASSES, 3, out, **SETTINGS)
    assert json.loads((out / "settings.json").read_text())["model"] == str(model)
    # Nor does it spoil what is there.
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ParamsError, match="holds images of another model"):
        synthesize(tmp_path / "modle", CLASSES, 4, out, **SETTINGS)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


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
    seeds = {synthesis_draw.image_seed(0, i, r) for i in range(50) for r in range(3)}
    assert len(seeds) == 150


def test_memory_that_runs_out_is_one_line() -> None:
    def pipeline(*arguments: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ParamsError, match="lower batch_size"):
        synthesis_draw._sample(pipeline, ["a"], [1], 1.0, 2, 16)


@pytest.mark.parametrize(
    ("folders", "classes", "words"),
    [
        (("a_b", "a b"), ("a b",), "has a folder 'a_b', which is no class of this data set; .* rename or remove it"),
        (("a b",), ("a_b", "A-b"), "the data set has classes 'a_b' and 'A-b', which both read 'a b'; name the folders"),
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
