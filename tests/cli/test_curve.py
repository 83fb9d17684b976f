"""`dpmix curve` on a table as the workflow writes it."""

from pathlib import Path

from typer.testing import CliRunner

from dpmix.cli.app import app
from dpmix.errors import DpmixError


def test_a_tables_picture(repository: Path, tmp_path: Path) -> None:
    table = repository / "results/reference/demo/tables/table3.json"
    result = CliRunner().invoke(app, ["curve", str(table), "--output", str(tmp_path / "made" / "accuracy")])
    assert result.output.split() == [str(tmp_path / "made" / f"accuracy.{kind}") for kind in ("png", "svg")]
    assert "digits (300), Tiny ViT" in (tmp_path / "made" / "accuracy.svg").read_text(encoding="utf-8")


def test_a_file_that_is_no_table_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "table3.json").write_text("{}", encoding="utf-8")
    result = CliRunner().invoke(app, ["curve", str(tmp_path / "table3.json"), "--output", str(tmp_path / "accuracy")])
    assert isinstance(result.exception, DpmixError)
    assert "does not hold a table" in str(result.exception)
    assert not (tmp_path / "accuracy.png").exists()
