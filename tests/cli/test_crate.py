"""`dpmix crate`: the archive, and one line where there is none."""

import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dpmix.cli.app import app
from dpmix.errors import DataError, ParamsError
from tests.status.conftest import lay


def test_one_command_writes_the_archive_beside_the_results(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, repository, "table2", "table12")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["crate"], catch_exceptions=False)
    with zipfile.ZipFile("results/demo/demo.crate.zip") as archive:
        names = archive.namelist()
    assert result.output == f"results/demo/demo.crate.zip: {len(names) - 1} files\n"
    assert {"ro-crate-metadata.json", "params.yaml", "results/demo/tables/table12.csv"} <= set(names)


def test_what_is_not_complete_is_one_line_with_the_command(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, repository, "table12")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^scale demo is not complete; first run: snakemake --cores all table2$"):
        CliRunner().invoke(app, ["crate"], catch_exceptions=False)
    assert not list(tmp_path.rglob("*.zip"))


def test_params_from_elsewhere_are_refused(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match="is not below this folder; copy it here"):
        CliRunner().invoke(app, ["crate", "--params", str(repository / "params.yaml")], catch_exceptions=False)
