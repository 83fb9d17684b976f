"""A cut of the demo that still makes every table and figure: one seed, one epoch, two learning rates."""

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.params.read import parse
from dpmix.tables.kinds.accuracy import NON_PRIVATE, ZERO_SHOT


def cut(params: dict[str, Any]) -> dict[str, Any]:
    """The demo's params with the same tables and less work behind each."""
    demo = params["scales"]["demo"]
    demo["seeds"] = [1]
    demo["tuning"]["learning_rates"] = [2, 8]
    for track in ("scratch", "finetune"):
        demo[track]["epochs"] = 1
    demo["datasets"]["digits-300"]["epochs"] = 1
    demo["tables"]["11"] |= {"seeds": [1], "fixed": {**demo["tables"]["11"]["fixed"], "epochs": 1}}
    demo["synthetic_size"]["digits"] = 200
    params["diffusion"]["tiny-diffusion"]["steps"] = 4
    return {**params, "scales": {"demo": demo}}


def call(folder: Path, repository: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *targets],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
    )


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True).stdout


def tracked(folder: Path) -> list[str]:
    """What git says of a work tree in which nothing but the first commit's files is new."""
    return [f"A  {path}" for path in git(folder, "ls-files").splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_table_figure_and_the_report_come_from_nothing(tmp_path: Path, repository: Path) -> None:
    folder = tmp_path / "clone"
    folder.mkdir()
    shutil.copytree(repository / "workflow", folder / "workflow")
    for name in ("environment.yml", ".gitignore"):
        shutil.copy(repository / name, folder)
    params = cut(yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8")))
    (folder / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")
    spec = parse(params).at("demo")

    git(folder, "init", "--quiet")
    git(folder, "add", ".")

    made = call(folder, repository, "all_tables", "all_figures", "report")
    assert made.returncode == 0, made.stderr
    assert git(folder, "status", "--porcelain", "--untracked-files=all").splitlines() == tracked(folder)

    results = folder / "results" / "demo"
    for name in spec.tables:
        stem = f"table{name}" if name.isdigit() else f"table_{name}"
        assert all((results / "tables" / f"{stem}.{kind}").stat().st_size > 0 for kind in ("csv", "md", "tex", "json"))
    numbered = {name: table for name, table in spec.tables.items() if name.isdigit()}
    assert len(numbered) == 13
    for number, table in numbered.items():
        for kind in ("csv", "md", "tex", "json"):
            assert (results / "tables" / f"table{number}.{kind}").stat().st_size > 0
        with (results / "tables" / f"table{number}.csv").open(encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        assert rows
        for row in rows:
            center = row.get("mean", row.get("median"))
            assert ("median" in row) == (number == "11")
            if row["note"] != "N/A":
                assert float(center) >= 0
                assert row["seeds"] == "1"
            if table.kind == "accuracy" and center:
                assert float(center) <= 100
                ends = {ZERO_SHOT: 0, NON_PRIVATE: math.inf}
                end = next((spent for label, spent in ends.items() if label in row.values()), None)
                assert float(row["epsilon"]) == end if end is not None else 0 < float(row["epsilon"]) <= 8
    for number in (1, 2):
        for kind in ("png", "pdf", "csv"):
            assert (results / "figures" / f"figure{number}.{kind}").stat().st_size > 0
    claims = json.loads((results / "claims.json").read_text(encoding="utf-8"))["claims"]
    undecided = {claim["id"]: claim["runs"]["why"] for claim in claims if claim["runs"]["verdict"] == "undecided"}
    assert undecided == dict.fromkeys(
        (claim["id"] for claim in claims if claim["expects"] != "same-epsilon"), "one seed has no spread"
    )
    assert [one["runs"]["verdict"] for one in claims if one["id"] not in undecided] == ["supported"]
    page = (results / "report" / "index.html").read_text(encoding="utf-8")
    assert all(f"Table {number}" in page for number in spec.tables)

    # One seed beside three: whatever agrees does, the cells of fewer epochs are named, and no table is missing.
    beside = subprocess.run(
        [sys.executable, "-m", "dpmix", "agree", str(results), "--against", str(repository / "results/reference/demo")],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True, text=True,
    )  # fmt: skip
    assert beside.returncode == 0, beside.stderr
    assert re.search(r"Within 2 standard deviations over seeds \(pooled\): \d+ of \d{3} cells", beside.stdout)

    again = call(folder, repository, "all_tables", "all_figures", "report")
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr
