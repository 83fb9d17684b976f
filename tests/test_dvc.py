"""DVC's stages, with a stand-in for Snakemake: what each asks for, and when it asks again."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

BIN = Path(sys.executable).parent

# Writes the files of the tables and figures it is asked for and, like the real one, leaves those that are there alone.
SNAKEMAKE = """\
import sys, pathlib
with open("asked.txt", "a") as file:
    print(*sys.argv[1:], file=file)
scale = sys.argv[sys.argv.index("--config") + 1].removeprefix("scale=")
made = {"table": ("tables", "csv json md tex"), "figure": ("figures", "png pdf"), "report": ("report", "html"),
        "claims": (".", "json md")}
for target in sys.argv[sys.argv.index("--") + 1 :]:
    noun = target.rstrip("0123456789")
    for kind in made[noun][1].split() if noun in made else ():
        path = pathlib.Path("results", scale, made[noun][0], "index.html" if noun == "report" else f"{target}.{kind}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(target)
"""


# As params.yaml, with two tables and one figure, and as many stages: DVC reads it once for each, and slowly.
TABLES = """\
      "9": table9
      "12": table12
"""
PARAMS = """\
scale: demo
datasets: {digits: {train: 1437}}
models: {tiny-vit: {resolution: 16}}
diffusion: {tiny-diffusion: {steps: 12}}
methods: {self-aug: {k_self: 0}}
scales:
  demo: &scale
    seeds: [1, 2, 3]
    tables: {"9": {kind: accuracy}, "12": {kind: accuracy}}
    figures: {"1": {datasets: [digits]}}
  paper: *scale
"""


@pytest.fixture
def clone(tmp_path: Path, repository: Path) -> Path:
    """A git repository with the project's DVC files and the stand-in first on its PATH."""
    folder = tmp_path / "clone"
    shutil.copytree(repository / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "*.local"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(repository / name, folder)
    (folder / "params.yaml").write_text(PARAMS)
    stages = (folder / "dvc.yaml").read_text()
    (folder / "dvc.yaml").write_text(re.sub(r"foreach:\n( {6}\S.*\n)+", f"foreach:\n{TABLES}", stages, count=1))
    for name in ("dpmix", "workflow"):
        (folder / name).mkdir()
        (folder / name / "code").write_text(name)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "snakemake").write_text(f"#!{sys.executable}\n{SNAKEMAKE}")
    (tools / "snakemake").chmod(0o755)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    return folder


def dvc(folder: Path, *arguments: str) -> str:
    path = f"{folder.parent / 'bin'}:{BIN}:{os.environ['PATH']}"
    run = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, env={**os.environ, "PATH": path, "HOME": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    return run.stdout


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True).stdout


def asked(folder: Path) -> list[str]:
    """The targets asked for since the last call."""
    path = folder / "asked.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line.split(" -- ")[1] for line in lines]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_there_is_a_stage_for_every_table_and_figure_of_both_scales(clone, repository):
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(repository / name, clone)
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    assert len(params["scales"]) == 2
    for spec in params["scales"].values():
        wanted = (
            {f"table@{key}" for key in spec["tables"]}
            | {f"figure@{key}" for key in spec["figures"]}
            | {"report", "claims"}
        )
        assert set(dvc(clone, "stage", "list", "--name-only").split()) == wanted


def test_every_section_of_the_params_is_a_dependency_of_every_stage(clone, repository):
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    assert set(params) == set(yaml.safe_load(PARAMS))
    needed = set(params) - {"scales"} | {"scales.${scale}"}
    stages = yaml.safe_load((clone / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for stage in stages.values():
        assert set(stage.get("do", stage)["params"]) == needed


def test_one_table_is_made_alone_and_only_once(clone):
    dvc(clone, "repro", "table@9")
    assert asked(clone) == ["table9"]
    assert "up to date" in dvc(clone, "repro", "table@9")
    assert asked(clone) == []
    # DVC takes none of it into its cache, and git ignores what runs write, with no further file that says so.
    assert not [path for path in (clone / ".dvc" / "cache").rglob("*") if path.is_file()]
    assert not list((clone / "results").rglob(".gitignore"))
    assert git(clone, "status", "--short", "--untracked-files=all", "results") == ""


def test_a_changed_setting_asks_again_and_deletes_nothing(clone):
    dvc(clone, "repro", "table@9")
    table = clone / "results" / "demo" / "tables" / "table9.csv"
    made = table.stat().st_mtime_ns
    asked(clone)

    edit(clone / "params.yaml", "[1, 2, 3]", "[1, 2]")
    dvc(clone, "repro", "table@9")
    assert asked(clone) == ["table9"]
    assert table.stat().st_mtime_ns == made

    edit(clone / "workflow" / "code", "workflow", "another workflow")
    dvc(clone, "repro", "table@9")
    assert asked(clone) == ["table9"]


def test_everything_starts_with_one_call_for_all_of_it(clone):
    dvc(clone, "repro")
    first, *rest = asked(clone)
    assert first == "all_tables all_figures report"
    assert sorted(rest) == ["claims", "figure1", "table12", "table9"]
    assert "up to date" in dvc(clone, "repro")
    assert asked(clone) == []


def test_the_scale_of_the_params_chooses_the_folder(clone):
    edit(clone / "params.yaml", "scale: demo", "scale: paper")
    dvc(clone, "repro", "table@12")
    assert (clone / "results" / "paper" / "tables" / "table12.csv").is_file()
    assert not (clone / "results" / "demo").exists()
