"""`make cifar10` in miniature, from zip archives to the table, and its report against the table that it shows."""

import csv
import dataclasses
import io
import os
import re
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from dpmix.artefacts.data import ImageStore, SyntheticSet, SyntheticStore
from dpmix.artefacts.experiment import Selection
from dpmix.build import build
from dpmix.catalogue.catalogue import Catalogue
from dpmix.data.images import load
from dpmix.errors import DataError
from dpmix.files import read_json
from dpmix.models import small_encoders
from dpmix.params.read import read
from dpmix.tables.statistics import paired_difference
from tests.workflow.in_process import make_table_3, outputs

pytestmark = pytest.mark.filterwarnings("ignore")
CLASSES = ("cat", "dog")
METHODS = ("Self-Aug", "DP-Mix_Self", "DP-Mix_Diff")
COLOURS = {"cat": (200, 60, 60), "dog": (60, 60, 200)}


def add(path: Path, split: str, per_class: int, first: int = 0) -> None:
    """An archive of noisy red cats and blue dogs, as WebP like the real ones."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in CLASSES:
            for index in range(first, first + per_class):
                random = np.random.default_rng([index, len(split), len(name) + ord(name[0])])
                pixels = np.clip(random.normal(COLOURS[name], 60, (32, 32, 3)), 0, 255).astype(np.uint8)
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, format="WEBP", lossless=True)
                archive.writestr(f"{split}/{name}/{index:05d}.webp", buffer.getvalue())


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Path:
    """A folder with archives where the params look for them, and the params cut to their size."""
    raw: dict[str, Any] = yaml.safe_load((repository / "docs/cifar10/params.yaml").read_text(encoding="utf-8"))
    raw["datasets"]["cifar-10"] |= {"classes": 2, "train": 32, "test": 16}
    scale = raw["scales"]["cifar10"]
    scale["synthetic_size"]["cifar-10"] = 16
    scale["seeds"] = [1, 2]
    scale["tuning"] = {"learning_rates": [1, 8], "holdout": 0.25}
    scale["finetune"] |= {"batch_size": 8, "epochs": 1}
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    folder = Path(raw["datasets"]["cifar-10"]["path"])
    folder.mkdir(parents=True)
    add(folder / "train-0.zip", "train", 10)
    add(folder / "train-1.zip", "train", 6, first=10)
    add(folder / "test.zip", "test", 8)
    add(folder / "synthetic-sd14.zip", "synthetic", 8)
    recipe = dataclasses.replace(small_encoders.RECIPES["small-repvgg"], steps=20, batch=16)
    monkeypatch.setitem(small_encoders.RECIPES, "small-repvgg", recipe)
    return folder


@pytest.mark.slow
def test_the_whole_path_in_miniature(small: Path) -> None:
    catalogue = make_table_3()
    (store,), (d,) = outputs(catalogue, ImageStore), outputs(catalogue, SyntheticStore)
    assert load(store.parent).classes == load(d.parent).classes == CLASSES
    assert np.bincount(load(d.parent).labels).tolist() == [8, 8]
    with Path("results/cifar10/tables/table3.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert all(0 <= float(row["mean"]) <= 100 for row in rows)
    private = [row for row in rows if row["Method"] in METHODS]
    assert len(private) == 6
    for row in private:
        assert row["seeds"] == "2"
        assert 0 < float(row["epsilon"]) <= 8
    for path in outputs(catalogue, Selection):
        assert read_json(path)["held_out"] == 8


def test_a_class_without_public_images_is_one_line(small: Path) -> None:
    with zipfile.ZipFile(small / "synthetic-sd14.zip") as whole:
        cats = {name: whole.read(name) for name in whole.namelist() if "/cat/" in name}
    with zipfile.ZipFile(small / "synthetic-sd14.zip", "w") as archive:
        for name, content in cats.items():
            archive.writestr(name, content)
    catalogue = Catalogue(read(Path("params.yaml")))
    (d,) = catalogue.of(SyntheticSet)
    with pytest.raises(DataError, match=r"synthetic-sd14\.zip has no images of class 'dog'; add a folder of them"):
        build(d, scale=catalogue.scale)


def test_the_workflow_takes_the_params_in_place_of_its_own(repository: Path, tmp_path: Path) -> None:
    for name in ("workflow", "params.yaml", "docs", "environment.yml"):
        (tmp_path / name).symlink_to(repository / name)
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "table3", "--configfile", "docs/cifar10/params.yaml"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    counts = dict(re.findall(r"^(\S+) +(\d+)$", run.stdout + run.stderr, flags=re.MULTILINE))
    assert counts["encoder"] == counts["images"] == counts["synthetic"] == counts["table3"] == "1"
    assert "diffusion_model" not in counts
    assert sum(name.startswith("run-") for name in counts) == 9
    assert sum(name.startswith("tune-") for name in counts) == 3


def test_the_report_says_what_the_table_says(repository: Path) -> None:
    folder = repository / "results/reference/cifar10/tables"
    report = (repository / "docs/cifar10/README.md").read_text(encoding="utf-8")
    with (folder / "table3.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    values = {
        (cell["row"][1], cell["column"][1]): cell["values"] for cell in read_json(folder / "table3.json")["cells"]
    }
    rows = [row for row in rows if row["Method"] in METHODS]
    assert len(rows) == 6
    # The table, as the workflow rendered it.
    rendered = [
        line for line in (folder / "table3.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")
    ]
    assert "\n".join(rendered) in report
    for row in rows:
        of_seeds = values[row["Method"], row["ε"]]
        assert len(of_seeds) == int(row["seeds"]) == 3
        assert float(row["mean"]) == pytest.approx(statistics.mean(of_seeds), abs=1e-3)
        (cells,) = [line for line in rendered if f"| {row['Method']} |" in line]
        assert f"{float(row['mean']):.1f} ({float(row['sd']):.1f})".replace("(0.", "(.") in cells
    # Each difference that the text states, with its standard deviation over seeds.
    stated = re.findall(r"^- (\S+) − (\S+) at ε = (\d): ([+−]\d+\.\d\d) \((\d+\.\d\d)\)", report, flags=re.MULTILINE)
    assert len(stated) == 4
    for first, second, epsilon, mean, deviation in stated:
        sides = [values[method, f"ε = {epsilon}"] for method in (first, second)]
        assert f"{paired_difference(*sides).estimate:+.2f}".replace("-", "−") == mean
        differences = [one - other for one, other in zip(*sides, strict=True)]
        assert f"{statistics.stdev(differences):.2f}" == deviation
