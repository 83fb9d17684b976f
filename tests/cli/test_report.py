"""`dpmix report`: the page of a scale or of a folder, its pictures as files, and what is written again."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dpmix.cli.app import app
from dpmix.errors import ParamsError
from tests.report.made_runs import lay
from tests.report.made_up import payload_of


def written(*arguments: str) -> list[Path]:
    result = CliRunner().invoke(app, ["report", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return [Path(line) for line in result.output.splitlines()]


def states(values: dict[str, Any], table: str) -> list[set[str]]:
    """For each cell of a table, the states of its runs; a page says none of what is done."""
    return [{values["runs"][at].get("state", "done") for at in one["runs"]} for one in values["tables"][table]["cells"]]


def test_a_scale_of_which_a_table_is_made(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lay(tmp_path, repository, "12")
    (page,) = written()
    assert page == Path("results/demo/report/index.html")
    values = payload_of(page.read_text(encoding="utf-8"))
    assert set.union(*states(values, "table12")) == {"done"}
    assert set.union(*states(values, "table2")) == {"missing"}


def test_a_folder_by_itself_and_its_pictures(tmp_path: Path, repository: Path) -> None:
    folder = repository / "results" / "reference" / "cifar10"
    made = written(str(folder), "--output", str(tmp_path / "page.html"), "--figures", str(tmp_path / "pictures"))
    assert made[0] == tmp_path / "page.html"
    assert {path.name for path in made[1:]} >= {"table3.svg", "table3.png", "table3.pdf"}
    assert all(path.stat().st_size > 500 for path in made)


def test_a_folder_and_a_scale_are_not_both_asked_for(repository: Path) -> None:
    folder = str(repository / "results" / "reference" / "demo")
    result = CliRunner().invoke(app, ["report", folder, "--watch"])
    assert isinstance(result.exception, ParamsError)
    assert "leave out the folder" in str(result.exception)


def test_a_page_that_is_watched_grows(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dpmix.cli import report

    monkeypatch.chdir(tmp_path)
    catalogue = lay(tmp_path, repository, "12")
    (cell, *_) = catalogue.cells("12")
    kept = [(Path(catalogue.path(one)), Path(catalogue.path(one)).read_bytes()) for one in cell.artefacts]
    for path, _ in kept:
        path.unlink()
    page = tmp_path / "index.html"

    class Enough(Exception):
        pass

    rests = iter(range(1000))

    def rest(seconds: float) -> None:
        """In place of the pause between looks: the runs land at the first, and the second write ends the watch."""
        assert seconds == 0.5
        if next(rests) == 0:
            first.append(page.read_text(encoding="utf-8"))
            for path, content in kept:
                path.write_bytes(content)
        elif page.read_text(encoding="utf-8") != first[0]:
            raise Enough

    first: list[str] = []
    monkeypatch.setattr(report.time, "sleep", rest)
    with pytest.raises(Enough):
        CliRunner().invoke(app, ["report", "--watch", "--every", "0.5", "--output", str(page)], catch_exceptions=False)
    before, after = payload_of(first[0]), payload_of(page.read_text(encoding="utf-8"))
    place = next(at for at, one in enumerate(before["tables"]["table12"]["cells"]) if one["at"] == list(cell.row))
    assert states(before, "table12")[place] == {"missing"}
    assert states(after, "table12")[place] == {"done"}


def test_a_watched_page_misses_nothing_that_lands_while_it_is_written_and_no_record_that_is_made_again(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpmix.cli import report

    monkeypatch.chdir(tmp_path)
    catalogue = lay(tmp_path, repository, "12")
    one, other = (Path(catalogue.path(cell.artefacts[0])) for cell in catalogue.cells("12")[:2])
    whole = {path: path.read_bytes() for path in (one, other)}
    one.unlink()
    other.write_bytes(whole[other][:99])  # half of a copy
    found: list[str] = []
    write = report._write

    def written_as_one_lands(*arguments: Any) -> None:
        write(*arguments)
        found.append((tmp_path / "index.html").read_text(encoding="utf-8"))
        if not one.exists():
            one.write_bytes(whole[one])

    def rest(_: float) -> None:
        if other.read_bytes() == whole[other]:
            raise KeyboardInterrupt
        other.write_bytes(whole[other])

    monkeypatch.setattr(report, "_write", written_as_one_lands)
    monkeypatch.setattr(report.time, "sleep", rest)
    CliRunner().invoke(app, ["report", "--watch", "--output", str(tmp_path / "index.html")])
    said = [set.union(*states(payload_of(page), "table12")) for page in found]
    assert said == [{"done", "missing", "failed"}, {"done", "failed"}, {"done"}]


def test_each_cell_beside_that_of_other_results(tmp_path: Path, repository: Path) -> None:
    reference = repository / "results" / "reference" / "demo"
    (page,) = written(str(reference), "--against", str(reference), "--output", str(tmp_path / "page.html"))
    text = page.read_text(encoding="utf-8")
    values = payload_of(text)
    assert values["against"] == str(reference)
    cells = [cell for table in values["tables"].values() for cell in table["cells"] if "values" in cell]
    assert len(cells) > 300
    assert all(cell["other"]["text"] == cell["text"] for cell in cells)
    assert text.count('class="other"') > 300
    assert 'class="other apart"' not in text
