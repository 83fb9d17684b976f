"""`dpmix report`: the page of a scale or of a folder, its pictures as files, and what is written again."""

from pathlib import Path

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


def test_a_scale_of_which_a_table_is_made(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lay(tmp_path, repository, "12")
    (page,) = written()
    assert page == Path("results/demo/report/index.html")
    values = payload_of(page.read_text(encoding="utf-8"))
    states = {name: {cell.get("state") for cell in table["cells"]} for name, table in values["tables"].items()}
    assert states["table12"] == {None}  # done
    assert states["table2"] == {"missing"}


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
    assert before["tables"]["table12"]["cells"][place]["state"] == "missing"
    assert "state" not in after["tables"]["table12"]["cells"][place]


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
