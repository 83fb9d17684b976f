"""`dpmix agree` and `dpmix reference`, on tables that are written for the test."""

import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from dpmix.catalogue.catalogue import Catalogue
from dpmix.cli.app import app
from dpmix.errors import DpmixError
from dpmix.files import read_json, write_json
from dpmix.params.read import read
from dpmix.tables.cells import Cell, Table
from dpmix.tables.render import read as read_table
from dpmix.tables.render import write

REFERENCE = Path("results/reference/demo")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refused(*arguments: str) -> str:
    result = call(*arguments)
    assert isinstance(result.exception, DpmixError)
    return str(result.exception)


def table(number: str, *rows: tuple[str, float]) -> Table:
    cells = tuple(Cell((row,), (), (mean - 1, mean, mean + 1)) for row, mean in rows)
    return Table(number, "T", "C", "test accuracy (%)", ("Method",), (), cells, "demo")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tables as made here, the second of which has a cell that lies five standard deviations off."""
    monkeypatch.chdir(tmp_path)
    write(table("9", ("A", 80), ("B", 70)), REFERENCE / "tables")
    write(table("12", ("C", 90), ("D", 60)), REFERENCE / "tables")
    write(table("9", ("A", 80), ("B", 71)), Path("results/demo/tables"))
    write(table("12", ("C", 90), ("D", 65)), Path("results/demo/tables"))
    return tmp_path


def test_a_folder_where_a_table_should_be_is_one_line(folder: Path) -> None:
    path = Path("results/demo/tables/table9.json")
    path.unlink()
    path.mkdir()
    assert refused("agree") == f"cannot read {path}: it is a folder; delete it and make it again"


def test_it_counts_what_agrees_and_names_what_does_not(folder: Path) -> None:
    result = call("agree")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "results/demo beside results/reference/demo:",
        "Within 2 standard deviations over seeds (pooled): 3 of 4 cells; 2 print the same.",
        "Further apart: 1.",
        "  Table 12, D: 65.0 (1.0), reference 60.0 (1.0)",
    ]
    assert call("agree", "--strict").exit_code == 1
    assert call("agree", "--strict", "--against", "results/demo").exit_code == 0


def test_the_reference_is_that_of_the_folder_wherever_one_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree("results/demo", "elsewhere/mine")
    assert "results/reference/mine" in refused("agree", "elsewhere/mine")
    assert call("agree", "elsewhere/mine", "--against", "results/demo", "--strict").exit_code == 0


def test_a_table_that_lacks_is_an_error_and_the_others_are_compared_all_the_same(folder: Path) -> None:
    Path("results/demo/tables/table12.json").unlink()
    result = call("agree")
    assert "2 of 2 cells" in result.output
    assert str(result.exception) == "results/demo lacks table 12, which results/reference/demo has; make it first"


def test_a_table_that_the_reference_lacks_is_said(folder: Path) -> None:
    (REFERENCE / "tables/table9.json").unlink()
    result = call("agree")
    assert result.exit_code == 0
    assert "Not in the reference: table 9." in result.output


def test_a_damaged_table_or_an_empty_folder_is_one_line(folder: Path) -> None:
    Path("results/demo/tables/table9.json").write_text("{}")
    assert "table9.json does not hold a table" in refused("agree")
    shutil.rmtree("results/demo")
    assert refused("agree").startswith("there are no tables in results/demo/tables; make them first")


# Renewing -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(folder: Path, repository: Path) -> Catalogue:
    """A demo of one small table, its runs finished."""
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    demo = params["scales"]["demo"]
    demo["tables"], demo["figures"] = {"12": {**demo["tables"]["12"], "ladder": None}}, {}
    Path("params.yaml").write_text(yaml.safe_dump({**params, "scales": {"demo": demo}}, allow_unicode=True))
    catalogue = Catalogue(read(Path("params.yaml")), "demo")
    for index, path in enumerate(catalogue.targets["table12"]):
        times = {"seconds": 1.0, "hardware": "an abacus"}
        record = {"accuracy": 50.0 + index, "epsilon": {"rdp": 0.99}, "learning_rate": 8.0, "times": times}
        write_json(path.path("demo"), record)
    return catalogue


def test_the_finished_runs_become_the_reference(finished: Catalogue) -> None:
    result = call("reference")
    assert result.exit_code == 0, result.exception
    assert result.stdout == "results/reference/demo: 1 table and 0 figures; commit them\n"
    # From the runs, not from the table that happens to lie there; and what is no longer made is gone.
    shown = [value for cell in read_table(REFERENCE / "tables/table12.json").cells for value in cell.values]
    assert shown == [50.0 + index for index in range(len(shown))]
    assert len(shown) >= 9
    assert {path.suffix for path in (REFERENCE / "tables").iterdir()} == {".csv", ".md", ".tex", ".json"}
    assert not (REFERENCE / "tables/table9.json").exists()
    claims = {one["id"]: one["runs"] for one in read_json(REFERENCE / "claims.json")["claims"]}
    assert claims["pure-mixing"]["verdict"] is not None
    assert claims["microbatches"]["verdict"] is None
    assert (REFERENCE / "claims.md").is_file()


def test_an_unfinished_scale_leaves_the_reference_as_it_is(finished: Catalogue) -> None:
    before = {path: path.read_bytes() for path in REFERENCE.rglob("*") if path.is_file()}
    assert before
    first, second, *_ = sorted({run.path("demo") for run in finished.targets["table12"]})
    first.unlink()
    assert refused("reference") == (
        f"scale demo is not complete; make all its tables and figures first, then this again: there is no {first}"
    )
    second.unlink()
    assert refused("reference").endswith(f"there is no {first} and 1 other files")
    assert {path: path.read_bytes() for path in REFERENCE.rglob("*") if path.is_file()} == before
