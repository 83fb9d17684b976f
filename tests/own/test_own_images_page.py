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
from dpmix.own.choices.recipe import recipe
from dpmix.release.statement import read_statement

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow, pytest.mark.timeout(900)]
APART = ("compare", "audit")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-images" / "README.md"


def commands() -> Iterator[list[str]]:
    """The commands in blocks of the page, all of which are verbs."""
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            assert words[0] == "dpmix"
            yield words


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the page: 2 classes of 60 images, real ones where there are some."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dpmix.own.choices.recipe.EPOCHS", 8)  # a third of the steps, on so few images
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


def test_what_epochs_gain_is_what_was_measured(repository: Path) -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## How near to no privacy")[2].partition("\n## ")[0]
    with (repository / "benchmarks" / "results" / "epochs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows[:-1]:
        found.setdefault((row["epochs"], row["T"]), []).append(float(row["accuracy"]))
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line][2:5]
    assert len(table) == len(found) == 3
    for (first, steps, *said), (key, measured) in zip(table, found.items(), strict=True):
        assert (first.split()[0], steps) == key
        assert [float(one) for one in said] == pytest.approx(measured, abs=0.0501)
    without = float(rows[-1]["accuracy"])
    assert f"{without:.1f} % without privacy" in section
    lost = [without - one for one in list(found.values())[1]]
    assert f"At ε = 4 the private head is {lost[2]:.1f} points below one without privacy" in section
    assert f"At ε = 1 and 2 it is {lost[0]:.1f} and {lost[1]:.1f} points" in " ".join(section.split())
    assert lost[2] <= 2
    usual = recipe(int(rows[0]["N"]), 10, 4.0)
    assert (str(usual.epochs), f"{usual.epochs} (the default)") == (list(found)[1][0], table[1][0])


def test_what_compare_found_is_what_was_measured(repository: Path) -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## How near to no privacy")[2].partition("\n## ")[0]
    with (repository / "benchmarks" / "results" / "comparison.csv").open(encoding="utf-8") as file:
        means = {(row["method"], row["epsilon"]): float(row["mean"]) for row in csv.DictReader(file)}
    for method, shown in (("DP-Mix_Self", "DP-Mix_Self (the default)"), ("Self-Aug", "Self-Aug")):
        cells = " | ".join(f"{means[method, epsilon]:.1f}" for epsilon in ("1", "2", "4", "8"))
        assert f"| {shown} | {cells} |" in section
    clipped, without, private = means["DP-Mix_Self", "inf"], means["logistic regression", ""], means["DP-Mix_Self", "4"]
    said = " ".join(section.split())
    assert f"| {clipped:.1f} |" in section
    assert f"A regression without privacy has {without:.1f} % there" in said
    assert f"ε = 4 misses the goal by {without - private - 2:.1f} points" in said
    assert f"noise costs {clipped - private:.1f} of the {without - private:.1f} points" in said


def test_how_long_train_took_is_what_was_measured(repository: Path) -> None:
    said = " ".join(PAGE.read_text(encoding="utf-8").split())
    (table,) = re.findall(r"\[measured\]\(\.\./\.\./(benchmarks/results/verbs-[^)]+\.csv)\)", said)
    with (repository / table).open(encoding="utf-8") as file:
        taken = {(row["classes"], row["N"]): float(row["seconds"]) for row in csv.DictReader(file)}
    assert f"took {taken['10', '10000']:.0f} seconds for these 10,000 images" in said
    assert f"{taken['2', '2000']:.0f} seconds for 2,000 images of two classes" in said


def test_the_page_names_what_is_written() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in ("my-images-model/", "my-images-model.work/", "my-images.dpmix-spent.json", "privacy.json"):
        assert name in text
