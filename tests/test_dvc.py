"""DVC's stages, with a stand-in for Snakemake: what each asks for, and when it asks again."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import load_yaml, read
from dpmix.seals import write_record

BIN = Path(sys.executable).parent

# Makes a run whose path follows from the settings, and of it the tables and figures it is asked for. Like the real one,
# it leaves what it has made of these settings alone.
SNAKEMAKE = """\
import hashlib, json, sys, pathlib, time
from dpmix.params.read import load_yaml
from dpmix.seals import write_record
with open("asked.txt", "a") as file:
    print(*sys.argv[1:], file=file)
if pathlib.Path("hang").exists():
    pathlib.Path("hang").rename("hanging")
    time.sleep(300)
scale = sys.argv[sys.argv.index("--config") + 1].removeprefix("scale=")
made = {"table": ("tables", "csv json md tex"), "figure": ("figures", "csv png pdf"), "report": ("report", "html"),
        "claims": (".", "json md")}
settings = json.dumps(load_yaml("params.yaml")["scales"][scale])
key = hashlib.sha256(settings.encode()).hexdigest()[:8]
for folder in ("data/images/digits", f"results/{scale}/runs/{key}"):
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    pathlib.Path(folder, "made.json").write_text("{}")
value = int(key, 16) % 10000 / 100
cell = dict(row=["A"], column=[], values=[value], end=False, epsilon=1.0, note="", paper=None, statistic="mean")
table = dict(caption="", cells=[cell], column_names=[], decimals=1, notes=[], row_names=["Method"], scale=scale,
             title="T", unit="accuracy")
content = {
    "csv": f"Dataset,Method,Model,mean,sd,seeds,epsilon\\nDigits,A,Net,{value},1,3,{key[0]}.5\\n",
    "png": "iVBORw0KGgo=",
}
for target in sys.argv[sys.argv.index("--") + 1 :]:
    noun = target.rstrip("0123456789")
    for kind in made[noun][1].split() if noun in made else ():
        path = pathlib.Path("results", scale, made[noun][0], "index.html" if noun == "report" else f"{target}.{kind}")
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content.get(kind, target)
        if noun == "table" and kind == "json":
            text = json.dumps({**table, "name": target.removeprefix("table")})
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
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
  demo:
    seeds: [1, 2, 3]
    finetune: {epochs: 2, padding: 1}
    tables: {"9": {kind: accuracy}, "12": {kind: accuracy, rows: {"Yes": 1}}}
    figures: {"1": {datasets: [digits]}}
  paper:
    seeds: [1, 2, 3]
    finetune: {epochs: 2, padding: 1}
    tables: {"9": {kind: accuracy}, "12": {kind: accuracy}}
    figures: {"1": {datasets: [digits]}}
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
    stages = re.sub(r"foreach:\n( {6}\S.*\n)+", f"foreach:\n{TABLES}", stages, count=1)
    assert "tables/table3.csv: { x: epsilon" in stages
    (folder / "dvc.yaml").write_text(stages.replace("tables/table3.csv", "tables/table9.csv"))
    for name in ("dpmix", "workflow"):
        (folder / name).mkdir()
        (folder / name / "code").write_text(name)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "snakemake").write_text(f"#!{sys.executable}\n{SNAKEMAKE}")
    (tools / "snakemake").chmod(0o755)
    (folder / "params.yaml").chmod(0o644)
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / ".git" / "info" / "exclude").write_text("asked.txt\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "The project")
    return folder


def environment(folder: Path) -> dict[str, str]:
    repository = Path(__file__).parents[1]
    who = {f"GIT_{role}_{part}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    path = f"{folder.parent / 'bin'}:{BIN}:{os.environ['PATH']}"
    more = {"PATH": path, "HOME": str(folder.parent), "PYTHONPATH": str(repository), "COLUMNS": "120"}
    return {**os.environ, **who, **more}


def shell(folder: Path, script: str) -> str:
    """What a script writes."""
    run = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=environment(folder), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    return run.stdout


def dvc(folder: Path, *arguments: str) -> str:
    return shell(folder, shlex.join(["dvc", *arguments]))


def git(folder: Path, *arguments: str) -> str:
    return shell(folder, shlex.join(["git", *arguments]))


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
            | {f"data@{kind}" for kind in ("diffusion", "encoders", "images", "synthetic")}
            | {f"made@{kind}" for kind in ("attacks", "fid", "plans", "privacy", "runs", "selections", "stamps")}
        )
        assert set(dvc(clone, "stage", "list", "--name-only").split()) == wanted


def test_every_section_of_the_params_is_a_dependency_of_every_stage_that_makes(clone, repository):
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    assert set(params) == set(yaml.safe_load(PARAMS))
    needed = set(params) - {"scales"} | {"scales.${scale}"}
    stages = yaml.safe_load((clone / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name in ("report", "table", "figure", "claims"):
        assert set(stages[name].get("do", stages[name])["params"]) == needed


def test_one_table_is_made_alone_and_only_once(clone):
    dvc(clone, "repro", "table@9")
    assert asked(clone) == ["table9"]
    assert "up to date" in dvc(clone, "repro", "table@9")
    assert asked(clone) == []
    # Git ignores what runs write, with no further file that says so.
    assert not list((clone / "results").rglob(".gitignore"))
    assert git(clone, "status", "--short", "--untracked-files=all", "results") == ""


def test_a_changed_setting_asks_again_and_deletes_nothing(clone):
    dvc(clone, "repro", "table@9")
    (before,) = (clone / "results" / "demo" / "runs").iterdir()
    asked(clone)

    edit(clone / "params.yaml", "[1, 2, 3]", "[1, 2]")
    dvc(clone, "repro", "table@9")
    assert asked(clone) == ["table9"]
    assert len(list((clone / "results" / "demo" / "runs").iterdir())) == 2
    assert before.is_dir()

    edit(clone / "workflow" / "code", "workflow", "another workflow")
    dvc(clone, "repro", "table@9")
    assert asked(clone) == ["table9"]


def test_tables_that_were_edited_or_restored_are_asked_for_again(clone):
    dvc(clone, "repro", "table@12")
    table = clone / "results/demo/tables/table12.csv"
    right = table.read_text()
    asked(clone)
    edit(table, "Digits", "Letters")
    dvc(clone, "repro", "table@12")
    assert asked(clone) == ["table12"]
    assert table.read_text() == right
    # As a checkout or a copy of another machine's results would bring them.
    shutil.copytree(table.parent, clone.parent / "old")
    edit(clone / "params.yaml", "epochs: 2", "epochs: 3")
    dvc(clone, "repro", "table@12")
    new = table.read_text()
    assert new != right
    asked(clone)
    shutil.copytree(clone.parent / "old", table.parent, dirs_exist_ok=True)
    dvc(clone, "repro", "table@12")
    assert asked(clone) == ["table12"]
    assert table.read_text() == new
    dvc(clone, "repro", "table@12")
    assert asked(clone) == []


def test_a_run_that_was_edited_is_not_recorded(clone):
    dvc(clone, "repro", "table@12", "made@runs")
    (run,) = (clone / "results/demo/runs").glob("*/made.json")
    recorded = (clone / "dvc.lock").read_bytes()
    write_record(run, {"accuracy": 90.0})
    dvc(clone, "repro", "made@runs")
    assert (clone / "dvc.lock").read_bytes() != recorded
    recorded = (clone / "dvc.lock").read_bytes()
    edit(run, "90", "99")
    said = shell(clone, "! dvc repro made@runs")
    assert re.findall(
        "^error: .*made.json.*; delete it and make it again: dvc repro --force report$", said, re.MULTILINE
    )
    assert (clone / "dvc.lock").read_bytes() == recorded


@pytest.mark.parametrize("killed", ["dvc", "snakemake"])
def test_after_a_kill_the_same_command_finishes(clone, killed):
    (clone / "hang").touch()
    call = subprocess.Popen(
        ["dvc", "repro", "table@12"], cwd=clone, env=environment(clone), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    started = clone / "hanging"
    while not started.exists():
        assert call.poll() is None
        time.sleep(0.2)
    below = [one for one in psutil.Process(call.pid).children(recursive=True) if "snakemake" in " ".join(one.cmdline())]
    for process in below if killed == "snakemake" else [psutil.Process(call.pid)]:
        process.kill()
    assert call.wait(timeout=120) != 0
    for process in below:
        if process.is_running():
            process.kill()
    asked(clone)
    dvc(clone, "repro", "table@12")
    assert asked(clone) == ["table12"]
    assert (clone / "results/demo/tables/table12.csv").is_file()
    dvc(clone, "repro", "table@12")
    assert asked(clone) == []


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


def blocks(repository: Path) -> list[str]:
    """The commands of docs/dvc.md, as they stand there."""
    return re.findall(r"```sh\n(.*?)```", (repository / "docs" / "dvc.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_is_followed_word_by_word(clone, repository):
    record, elsewhere, compare = blocks(repository)
    shell(clone, record)
    assert asked(clone)[0] == "all_tables all_figures report"
    git(clone, "commit", "--quiet", "--allow-empty", "-m", "Nothing is left to record")

    said = shell(clone, elsewhere)
    assert "Data and pipelines are up to date." in said
    other = clone.parent / "elsewhere"
    assert not (other / "asked.txt").exists()
    for kind in ("data", "results"):
        here, there = (
            {path.relative_to(folder): path.read_bytes() for path in (folder / kind).rglob("*") if path.is_file()}
            for folder in (clone, other)
        )
        assert here == there
        assert len(here) > (0 if kind == "data" else 10)
    # What a machine notes of the files that it decoded images from is its own.
    (other / "data" / "images" / "digits" / "source.json").write_text("{}")
    assert "Data and pipelines are up to date." in dvc(other, "status")

    (other / ".git" / "info" / "exclude").write_text("asked.txt\n")
    said = shell(other, compare)
    assert asked(other) == ["table12"]
    rows = [line.split() for line in said.splitlines()]
    assert ["params.yaml", "scales.demo.finetune.padding", "1", "2"] in rows
    (metric,) = [row for row in rows if row and row[0] == "results/demo/means/table12.json"]
    assert metric[1] == "table12"
    assert metric[2] != metric[3] != "-"
    heading = next(row for row in rows if row[:2] == ["Experiment", "Created"])
    assert heading == ["Experiment", "Created", "table12", "scales.demo.finetune.padding"]
    page = (other / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    for words in ("Table 3: accuracy against ε", "Table 12"):
        assert words in page or words.encode("ascii", "backslashreplace").decode() in page


def test_what_an_experiment_sets_is_all_that_it_changes_in_the_projects_own_params(clone, repository):
    """DVC writes the whole file anew: `"Yes"` of Table 6 loses its quotes and lists their brackets."""
    shutil.copy(repository / "params.yaml", clone)
    before = load_yaml(clone / "params.yaml")
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "-m", "The project's own parameters")
    dvc(clone, "exp", "run", "-S", "scales.demo.finetune.padding=2", "table@12")
    assert " Yes:" in (clone / "params.yaml").read_text(encoding="utf-8")
    after = load_yaml(clone / "params.yaml")
    assert before["scales"]["demo"]["finetune"].pop("padding") != after["scales"]["demo"]["finetune"]["padding"]
    assert after["scales"]["demo"]["finetune"].pop("padding") == 2
    assert after == before
    # And it is one that the table shows: a data set's own settings go before the scale's.
    shown = [
        Catalogue(read(path)).fingerprint("table12") for path in (repository / "params.yaml", clone / "params.yaml")
    ]
    assert shown[0] != shown[1]
