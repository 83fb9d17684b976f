"""`dpmix synthesize`: a set of public images for class names alone."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from dpmix.cli import main
from dpmix.demo import diffusion
from dpmix.demo.strokes import draw
from dpmix.synthesis import draw as synthesis_draw
from dpmix.synthesis.folder import gather, load_synthetic

pytestmark = pytest.mark.filterwarnings("ignore")
OWN = {
    "model": "pipeline",
    "guidance_scale": 1.5,
    "steps": 2,
    "resolution": 16,
    "scheduler": "DDIMScheduler",
    "seed": 3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A folder with params whose diffusion model is on disk: a real pipeline after two steps of training."""
    made = tmp_path_factory.mktemp("own")
    images, labels = draw(32, seed=0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(diffusion, "_AUTOENCODER_STEPS", 2)
        patched.setattr(diffusion, "_UNET_STEPS", 2)
        diffusion.train_diffusion(images, labels % 2, ("left lung", "heart"), made / "pipeline", seed=0)
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    params["diffusion"]["own"] = OWN
    (made / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return made


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str | int | None:
    monkeypatch.setattr("sys.argv", ["dpmix", "synthesize", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_from_a_list_of_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "names.txt").write_text("left lung\n\nheart\n", encoding="utf-8-sig")
    arguments = ("d", "--classes", "names.txt", "--diffusion", "own")
    assert call(monkeypatch, *arguments, "--count", "3") == 0
    assert "d: 3 images of 2 classes" in capsys.readouterr().out
    first = load_synthetic(folder / "d")
    assert (first.classes, first.labels.tolist()) == (("left lung", "heart"), [0, 1, 0])
    assert json.loads((folder / "d/manifest.jsonl").read_text().splitlines()[0])["prompt"] == "a photo of a left lung"
    # A larger count extends the set; --batch-size is how, not what.
    seeds = [json.loads(line)["seed"] for line in (folder / "d/manifest.jsonl").read_text().splitlines()]
    sample, together = synthesis_draw._sample, []

    def counted(pipeline: Any, captions: list[str], *rest: Any) -> Any:
        together.append(len(captions))
        return sample(pipeline, captions, *rest)

    monkeypatch.setattr(synthesis_draw, "_sample", counted)
    assert call(monkeypatch, *arguments, "--count", "8", "--batch-size", "2") == 0
    after = [json.loads(line)["seed"] for line in (folder / "d/manifest.jsonl").read_text().splitlines()]
    assert after[:3] == seeds
    assert len(after) == 8
    assert together == [2, 2, 1]
    settings = json.loads((folder / "d/settings.json").read_text())
    assert settings.items() >= {**OWN, "model": "pipeline"}.items()


def test_from_private_class_folders_and_back_into_the_workflow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the folders' names are read, so D fits the private data: it can be gathered as `images:`."""
    with zipfile.ZipFile(folder / "private.zip", "w") as archive:
        for name in ("heart", "left lung"):
            Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(folder / "one.png")
            archive.write(folder / "one.png", f"{name}/one.png")
    assert call(monkeypatch, "e", "--classes", "private.zip", "--diffusion", "own", "--count", "2") == 0
    assert load_synthetic(folder / "e").classes == ("heart", "left lung")
    gather(folder / "e", ("heart", "left lung"), 2, folder / "gathered")
    assert len(load_synthetic(folder / "gathered").paths) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--classes", "gone.txt", "--diffusion", "own"), "gone.txt does not exist; give a text file of class names"),
        (("--classes", "params.yaml", "--diffusion", "owm"), "unknown diffusion model 'owm'; did you mean 'own'?"),
        (
            ("--classes", "one.bin", "--diffusion", "own"),
            "one.bin is not a text file in UTF-8; write one class name a line",
        ),
        (("--classes", "twice.txt", "--diffusion", "own"), "is there twice; rename or remove one"),
        (("--classes", "few.txt", "--diffusion", "tiny-diffusion"), "make it first: snakemake data/diffusion/tiny-"),
    ],
)
def test_a_mistake_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    (folder / "one.bin").write_bytes(b"\xff\xfe\xff")
    (folder / "twice.txt").write_text("a\na\n", encoding="utf-8")
    (folder / "few.txt").write_text("a\n", encoding="utf-8")
    error = str(call(monkeypatch, "f", "--count", "2", *arguments))
    assert error.startswith("error: ")
    assert words in error
    assert len(error.splitlines()) == 1
    assert not (folder / "f").exists()
