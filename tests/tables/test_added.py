"""A table that is not the paper's, by params alone; a kind of table by one file and its name: docs/tables.md.

Of each kind that there is, `tables.kinds.fid`, `tables.kinds.runtime` and others, each a class below
`tables.kinds.base.Kind`.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dpmix.catalogue.catalogue import Catalogue
from dpmix.cli.app import app
from dpmix.errors import ParamsError
from dpmix.files import read_json
from dpmix.params.read import parse, read
from dpmix.tables.render import read as read_table
from tests.tables.records import leave_records

NAME, TARGET = "my_clipping", "table_my_clipping"
KINDS = ("csv", "json", "md", "tex")
Params = dict[str, Any]


def block(repository: Path, language: str, words: str) -> str:
    """The code of docs/tables.md in that language that has these words."""
    text = (repository / "docs/tables.md").read_text(encoding="utf-8")
    (found,) = [code for code in re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL) if words in code]
    return found


@pytest.fixture
def small(repository: Path) -> Params:
    """The demo's params with the paper's Table 12 alone."""
    raw: Params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    demo = raw["scales"]["demo"]
    return {**raw, "scales": {"demo": {**demo, "tables": {"12": demo["tables"]["12"]}, "figures": {}}}}


@pytest.fixture
def added(small: Params, repository: Path) -> Params:
    """And with the table of the documentation."""
    demo = small["scales"]["demo"]
    more = yaml.safe_load(block(repository, "yaml", "kind: accuracy"))
    return {**small, "scales": {"demo": {**demo, "tables": {**demo["tables"], **more}}}}


@pytest.fixture
def folder(tmp_path: Path, added: Params, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(added, allow_unicode=True), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tables_of(params: Params) -> dict[str, Any]:
    found: dict[str, Any] = params["scales"]["demo"]["tables"]
    return found


def dpmix(*arguments: str) -> str:
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    return shown.output


def dry_run(folder: Path, repository: Path, *targets: str) -> str:
    for name in ("workflow", "environment.yml"):
        (folder / name).symlink_to(repository / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--dry-run", "--printshellcmds", *targets], cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(repository)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def test_it_is_made_by_its_step_and_shown_with_the_others(folder: Path) -> None:
    catalogue = Catalogue(read(folder / "params.yaml"))
    numbers = {**leave_records(catalogue, "12"), **leave_records(catalogue, NAME)}
    for name in ("12", NAME):
        dpmix("step", "table", name)
    made = folder / "results/demo/tables"
    assert {path.name for path in made.iterdir()} == {
        f"{stem}.{kind}" for stem in ("table12", TARGET) for kind in KINDS
    }
    with (made / f"{TARGET}.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    cells = catalogue.cells(NAME)
    assert [(row["Method"], row["C"]) for row in rows] == [(*cell.row, *cell.column) for cell in cells]
    assert len(cells) == 4
    for row, cell in zip(rows, cells, strict=True):
        values = [numbers[one.path("demo")] for one in cell.artefacts]
        assert float(row["mean"]) == pytest.approx(sum(values) / 3, rel=1e-5)
        assert row["paper_mean"] == ""
    markdown = (made / f"{TARGET}.md").read_text(encoding="utf-8")
    assert markdown.startswith(
        "## Table my_clipping. What the clip norm does\n\nA linear head on the tiny ViT, three seeds.\n\n| Method |"
    )
    assert read_json(made / f"{TARGET}.json")["name"] == NAME
    assert "number" not in read_json(made / f"{TARGET}.json")
    assert read_table(made / f"{TARGET}.json").name == NAME
    assert read_json(made / "table12.json")["number"] == 12

    dpmix("step", "report")
    page = (folder / "results/demo/report/index.html").read_text(encoding="utf-8")
    places = [page.index(f'<section id="{stem}"') for stem in ("table12", TARGET)]
    assert places == sorted(places)
    assert "snakemake --cores all table_my_clipping" in page[places[1] :]
    for kind in KINDS:
        assert f'href="../tables/{TARGET}.{kind}"' in page

    said = dpmix("agree", "results/demo", "--against", "results/demo")
    both = len(catalogue.cells("12")) + len(cells)
    assert f"{both} of {both} cells; {both} print the same" in said
    shutil.copytree(made, folder / "before/tables")
    (folder / f"before/tables/{TARGET}.json").unlink()
    assert "Not in the reference: table my_clipping." in dpmix("agree", "results/demo", "--against", "before")


def test_it_is_checked_and_counted_with_the_others(folder: Path) -> None:
    assert "demo (chosen): 2 tables, " in dpmix("check")
    lines = dpmix("plan", "--scale", "demo").splitlines()
    (row,) = [line.split() for line in lines if line.startswith(TARGET)]
    assert row[1] == "12"  # two methods, two clip norms, three seeds
    assert row[:2] in [line.split()[:2] for line in dpmix("plan", TARGET).splitlines()]


def test_snakemake_makes_it_by_name_and_all_tables_have_it(folder: Path, repository: Path) -> None:
    said = dry_run(folder, repository, TARGET)
    assert f"rule {TARGET}:" in said.splitlines()
    assert f"python -m dpmix step table {NAME} --params params.yaml" in said
    assert "rule table12:" not in said
    for name in ("workflow", "environment.yml"):
        (folder / name).unlink()
    said = dry_run(folder, repository, "all_tables")
    assert {f"rule {TARGET}:", "rule table12:"} <= set(said.splitlines())


def test_it_changes_no_other_table_and_its_words_are_part_of_it(small: Params, added: Params) -> None:
    before, after = Catalogue(parse(small)), Catalogue(parse(added))
    assert set(after.targets) == {*before.targets, TARGET}
    assert after.fingerprint("table12") == before.fingerprint("table12")
    prints = {after.fingerprint(TARGET)}
    tables_of(added)[NAME]["title"] = "Another"
    prints.add(Catalogue(parse(added)).fingerprint(TARGET))
    tables_of(added)[NAME]["rows"][0]["axis"] = "How"
    prints.add(Catalogue(parse(added)).fingerprint(TARGET))
    assert len(prints) == 3
    tables_of(added)["12"]["caption"] = "On digits."
    assert Catalogue(parse(added)).fingerprint("table12") != before.fingerprint("table12")


def test_a_title_that_is_a_models_name_asks_for_no_model(added: Params) -> None:
    before = Catalogue(parse(added))
    added["models"]["huge"] = {**added["models"]["tiny-vit"], "resolution": 4}
    tables_of(added)[NAME]["title"] = "huge"
    assert sorted(Catalogue(parse(added)).artefacts) == sorted(before.artefacts)


@pytest.mark.parametrize("name", ["a", "my_clipping", "k2", "clip_norm_05", "all", 8 * "word_x_" + "y"])
def test_names(added: Params, name: str) -> None:
    tables_of(added)[name] = tables_of(added).pop(NAME)
    assert f"table_{name}" in Catalogue(parse(added)).targets


@pytest.mark.parametrize(
    "name",
    [
        "14",
        "0",
        "09",
        "My",
        "my clipping",
        "_my",
        "my_",
        "a__b",
        "-my",
        "a--b",
        "My-own",
        "2nd",
        "ä",
        "",
        "x\n",
        61 * "x",
    ],
)
def test_what_is_no_name(added: Params, name: str) -> None:
    tables_of(added)[name] = tables_of(added).pop(NAME)
    with pytest.raises(ParamsError, match="a table is named 1 to 13, as the paper's, or by lower-case words") as caught:
        parse(added)
    assert caught.value.args[0].startswith(f"params.yaml: scales.demo.tables.{name}: ")


@pytest.mark.parametrize(("name", "remedy"), [("my-clipping", "my_clipping"), ("a-b_c-2", "a_b_c_2")])
def test_a_hyphen_in_a_name_is_answered_by_the_name_without(added: Params, name: str, remedy: str) -> None:
    table = tables_of(added).pop(NAME)
    tables_of(added)[name] = table
    with pytest.raises(ParamsError, match=rf"scales\.demo\.tables\.{name}: a table is named .*; write {remedy}$"):
        parse(added)
    del tables_of(added)[name]
    tables_of(added)[remedy] = table
    assert f"table_{remedy}" in Catalogue(parse(added)).targets


def drop(key: str) -> Callable[[Params], Any]:
    return lambda table: table.pop(key)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("title"), "table my_clipping: a table that is not the paper's needs a title; add one"),
        (lambda table: table.update(title=""), "tables.my_clipping.title: "),
        (lambda table: table.update(titel="x"), "tables.my_clipping.titel: unknown key; did you mean 'title'?"),
        (lambda table: table.update(kind="runtimes"), "unknown kind 'runtimes'; did you mean 'runtime'?"),
        (lambda table: table.update(kind="plot"), "there are accuracy, runtime, fid-views, fid-sets"),
        (lambda table: table["rows"][0].update(axis="Method | Views"),
         "table my_clipping: the label 'Self-Aug' has 1 levels, not the 2 of its axis 'Method | Views'; mend one"),
        (lambda table: table.update(columns=[{"axis": "Model", "model": ["tiny-vit"]}], ladder={"method": "self-aug"},
                                    rows=[{"axis": "Dataset", "dataset": ["digits"]}],
                                    fixed={"epsilon": 2, "method": "self-aug"}),
         "table my_clipping: its ladder has no place, since every axis names data sets or models; add an axis"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(added: Params, change: Callable[[Params], Any], words: str) -> None:
    change(tables_of(added)[NAME])
    with pytest.raises(ParamsError) as caught:
        Catalogue(parse(added))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["runtime", "fid-views", "fid-sets"])
def test_a_table_of_every_kind_can_be_added(added: Params, kind: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    grid = {key: tables_of(added)[NAME][key] for key in ("rows", "columns", "fixed")}
    sets = {"model": "tiny-vit", "datasets": ["digits", "digits-300"], "extractors": ["tiny-vit"]}
    more: dict[str, tuple[Params, list[str], list[str], str]] = {
        "runtime": (grid, ["Method"], ["C"], "running time (min)"),
        "fid-views": ({**sets, "methods": {"Plain": {"method": "self-aug"}}}, ["Dataset"], ["Split", "Method"],
                      "Fréchet distance"),
        "fid-sets": (sets, ["Dataset"], ["FID model", "Compared"], "Fréchet distance"),
    }  # fmt: skip
    fields, rows, columns, unit = more[kind]
    tables_of(added)[NAME] = {"kind": kind, "title": "Mine", **fields}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(added, allow_unicode=True), encoding="utf-8")
    catalogue = Catalogue(read(tmp_path / "params.yaml"))
    numbers = leave_records(catalogue, NAME)
    dpmix("step", "table", NAME)
    made = read_table(tmp_path / f"results/demo/tables/{TARGET}.json")
    assert (list(made.row_names), list(made.column_names), made.unit) == (rows, columns, unit)
    assert len(made.cells) == 4
    assert sum(len(cell.values) for cell in made.cells) == sum(len(cell.artefacts) for cell in catalogue.cells(NAME))
    assert {value for cell in made.cells for value in cell.values} <= set(numbers.values())
    assert "## Table my_clipping. Mine\n\n| " in (tmp_path / f"results/demo/tables/{TARGET}.md").read_text("utf-8")


def test_a_kind_is_one_file_and_its_name(folder: Path, tmp_path: Path, added: Params, repository: Path) -> None:
    """In a copy of the code, as docs/tables.md says; its numbers have no decimals."""
    leave_records(Catalogue(read(folder / "params.yaml")), NAME)
    shutil.copytree(repository / "dpmix", tmp_path / "dpmix", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "dpmix/tables/kinds/steps.py").write_text(block(repository, "python", "StepsTable"), encoding="utf-8")
    source = next(
        path for path in (tmp_path / "dpmix").rglob("*.py") if "\nTABLE_KINDS = {\n" in path.read_text(encoding="utf-8")
    )
    text = source.read_text(encoding="utf-8")
    name = '    "steps": "dpmix.tables.kinds.steps:StepsTable",\n'
    source.write_text(text.replace("\nTABLE_KINDS = {\n", f"\nTABLE_KINDS = {{\n{name}"), encoding="utf-8")
    tables_of(added)[NAME]["kind"] = "steps"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(added, allow_unicode=True), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "dpmix", "step", "table", NAME], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    values = [cell["values"] for cell in read_json(tmp_path / f"results/demo/tables/{TARGET}.json")["cells"]]
    assert sorted(value for one in values for value in one) == [30.0 + index for index in range(12)]
    shown = (tmp_path / f"results/demo/tables/{TARGET}.md").read_text(encoding="utf-8")
    assert re.search(r"\| Self-Aug +\| \d\d \(\d\) \|", shown)
