"""The commands of `docs/own-images`, followed word by word in a folder of images that the test makes."""

import csv
import os
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix.cli import main
from dpmix.files import read_json
from dpmix.own.recipe import recipe
from dpmix.release.statement import read_statement

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow, pytest.mark.timeout(900)]
APART = ("compare", "audit")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-images" / "README.md"


def commands() -> Iterator[list[str]]:
    """The commands in blocks of the page, up to the way of `params.yaml`."""
    text = PAGE.read_text(encoding="utf-8").partition("## Grids of experiments")[0]
    for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
        for line in block.splitlines():
            if line.startswith("dpmix "):
                yield shlex.split(line, comments=True)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the page: 2 classes of 60 images, real ones where there are some."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dpmix.own.recipe.MOST_OF_EACH", 16)  # a tenth of the time, on so few images
    real = Path(os.environ.get("DPMIX_SHARED_DATA", "nowhere"), "cifar10", "test.zip")
    random = np.random.default_rng(0)
    for number, name in enumerate(("airplane", "automobile")):
        for split, count in (("train", 45), ("test", 15)):
            (tmp_path / "my-images" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(random.normal(80 + 90 * number, 60, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "my-images" / split / name / f"{index}.png")
    if real.is_file():
        with zipfile.ZipFile(real) as archive:
            for name in ("airplane", "automobile"):
                found = sorted(one for one in archive.namelist() if f"/{name}/" in f"/{one}" and not one.endswith("/"))
                for place, one in zip(sorted((tmp_path / "my-images").rglob(f"{name}/*.png")), found, strict=False):
                    place.with_suffix(Path(one).suffix).write_bytes(archive.read(one))
                    place.unlink()
    return tmp_path / "my-images"


def test_the_commands_of_the_page_do_what_it_says(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: dict[str, str] = {}
    for words in commands():
        if words[1] in APART:
            continue
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        assert caught.value.code in (0, None), (words, shown)
        said.setdefault(words[1], shown.out)
    assert list(said) == ["check", "plan", "train", "evaluate", "predict", "card"]
    assert "noise multiplier σ" in said["plan"]
    assert said["train"].strip() == "my-images-model"
    statement = read_statement("my-images-model/model.safetensors")
    assert 3.9 < statement.epsilons["pld"] <= 4
    assert read_json(Path("my-images-model/privacy.json"))["evaluation"] is None
    assert len(said["predict"].splitlines()) == 1 + 30
    assert Path("my-images.dpmix-spent.json").is_file()
    assert not Path("my-images-model.work").exists()


def test_the_comparison_of_the_page(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (words,) = (words for words in commands() if words[1] == "compare")
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code in (0, None)
    text = Path("my-images-comparison/README.md").read_text(encoding="utf-8")
    assert text.split("\n\n")[1].startswith("> **Research, not for release.**")
    assert "DP-Mix_Self minus Self-Aug" in text
    # Nothing of it counts as spent, as nothing of it may be handed out.
    assert sorted(path.name for path in Path().iterdir()) == ["my-images", "my-images-comparison"]


def test_the_audit_of_the_page(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (words,) = (words for words in commands() if words[1] == "audit")
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code in (0, None)
    assert "claimed: ε = 4 for one image at δ = 1e-05: not contradicted" in capsys.readouterr().out
    assert [path.name for path in Path().iterdir()] == ["my-images"]


def test_what_more_epochs_gain_is_what_was_measured(repository: Path) -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## How near to no privacy")[2].partition("\n## ")[0]
    with (repository / "benchmarks" / "results" / "epochs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows[:-1]:
        found.setdefault((row["epochs"], row["T"]), []).append(float(row["accuracy"]))
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line][5:]
    assert len(table) == len(found) == 3
    for (first, steps, *said), (key, measured) in zip(table, found.items(), strict=True):
        assert (first.split()[0], steps) == key
        assert [float(one) for one in said] == pytest.approx(measured, abs=0.0501)
    assert f"| {float(rows[-1]['accuracy']):.1f} |" in section
    usual = recipe(int(rows[0]["N"]), 10, 4.0)
    assert (str(usual.epochs), f"{usual.epochs} (the default here)") == (rows[0]["epochs"], table[0][0])


def test_the_page_names_what_is_written() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in ("my-images-model/", "my-images-model.work/", "my-images.dpmix-spent.json", "privacy.json"):
        assert name in text
