import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dpmix.report.charts.choose import pictures
from dpmix.report.data import collect
from dpmix.report.page.payload import make_again, payload, script
from dpmix.report.privacy_words import privacy_words
from dpmix.tables.latex import latex
from dpmix.tables.markdown import markdown
from dpmix.tables.render import tidy_csv
from tests.report.made_runs import lay, whole
from tests.tables.records import leave_records
from tests.workflow.test_workflow import REDUCED, environment, new_clone


def test_a_cell_refers_to_its_runs_and_what_they_share_stands_once(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = collect(Path("results/demo"), lay(tmp_path, repository, "3"))
    values = payload(report, pictures(report))
    (data,) = [data for data in report.tables if data.table.name == "3"]
    table = values["tables"]["table3"]
    assert len(table["cells"]) == len(data.cells) > 50
    for cell, one in zip(table["cells"], data.cells, strict=True):
        assert [values["runs"][place]["path"] for place in cell["runs"]] == [run.path for run in one.runs]
        assert cell["values"] == list(one.cell.values)
        assert cell["at"] == [*one.cell.row, *one.cell.column]
        assert values["shared"]["privacy"][cell["privacy"]] == privacy_words(one)
    paths = [run["path"] for run in values["runs"]]
    assert len(paths) == len(set(paths)) == len(report.runs)
    assert values["shared"]["hardware"] == ["an abacus"]
    assert values["shared"]["inputs"] == [("data/images/x/meta.json", 64 * "a")]
    assert table["copy"] == {
        "CSV": tidy_csv(data.table), "Markdown": markdown(data.table), "LaTeX": latex(data.table)
    }  # fmt: skip
    assert values["charts"]["table3"]["spec"]["data"]["values"]
    json.dumps(values, allow_nan=False)


def command_of(cell: dict[str, Any], values: dict[str, Any]) -> str:
    """What the page shows: places of runs stand for their paths."""
    return " ".join(values["runs"][word]["path"] if isinstance(word, int) else word for word in cell["again"])


def keys(value: Any) -> set[str]:
    """All names in nested values, but for Vega-Lite's and those that a page lists whatever they are."""
    if isinstance(value, dict):
        own = {name: one for name, one in value.items() if name not in ("spec", "epsilon", "execution", "versions")}
        return set(own).union(*map(keys, own.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def test_the_page_carries_nothing_that_its_script_does_not_read(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = collect(Path("results/demo"), lay(tmp_path, repository, "3", "12"))
    values = payload(report, pictures(report))
    read = (repository / "dpmix" / "report" / "page" / "page.js").read_text(encoding="utf-8")
    named = keys([values["tables"]["table3"]["cells"], values["runs"], values["shared"]["rates"], values["charts"]])
    assert {"again", "above", "seed", "low", "views", "margin"} <= named
    by_name = set(report.tables[0].table.stem.split()) | set(values["charts"])
    facets = {"dataset", "model", "method"}  # by the names of filters
    assert [name for name in sorted(named - by_name - facets) if not re.search(rf"\.{name}\b", read)] == []


def test_a_cells_command_makes_its_runs_and_no_others(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a clone of two tables, of which one is made: the command of each cell, as it is typed, but only planned."""
    clone = new_clone(tmp_path / "clone", repository, REDUCED)
    monkeypatch.chdir(clone.folder)
    catalogue = clone.catalogue()
    leave_records(catalogue, "12")
    for cell in catalogue.cells("12"):
        for artefact in cell.artefacts:
            whole(artefact.path("demo"), artefact)
    values = payload(collect(Path("results/demo"), catalogue), {})
    (first, *_), others = values["tables"]["table12"]["cells"], values["tables"]["table2"]["cells"]
    unmade = next(cell for cell in others if all("state" in values["runs"][place] for place in cell["runs"]))
    done, lacking = command_of(first, values), command_of(unmade, values)
    paths = " ".join(catalogue.path(one) for one in catalogue.cells("12")[0].artefacts)
    assert done == f"rm {paths} && snakemake --cores all {paths}"
    assert lacking.startswith("snakemake --cores all results/demo/runs/")
    for command in (done, lacking):
        planned = subprocess.run(
            command.replace("snakemake", f"{sys.executable} -m snakemake -n"), shell=True, check=True,
            env=environment(repository), capture_output=True, text=True,
        ).stdout  # fmt: skip
        made = re.findall(r"results/demo/runs/\S+?/metrics\.json", " ".join(re.findall(r"output: (.*)", planned)))
        assert sorted(set(made)) == sorted(command.partition("--cores all ")[2].split())


def test_of_a_damaged_record_the_command_takes_it_away(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    catalogue = lay(tmp_path, repository, "12")
    first, second, third = (Path(catalogue.path(one)) for one in catalogue.cells("12")[0].artefacts)
    first.write_text("{}", encoding="utf-8")
    second.unlink()
    report = collect(Path("results/demo"), catalogue)
    (data,) = [data for data in report.tables if data.table.name == "12"]
    said = make_again(report.command, "table12", data.cells[0])
    assert third.exists()
    assert said == f"rm {first} && snakemake --cores all {first} {second}"
    assert make_again(report.command, "table12", replace(data.cells[0], runs=())) == "snakemake --cores all table12"


def test_json_in_a_script_cannot_end_it_and_is_read_back() -> None:
    values = {"a": "</script><!-- \u2028 \u2029", "ε": [1.5, None]}
    text = script(values)
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == values
    with pytest.raises(ValueError, match="not JSON compliant"):
        script(math.inf)
