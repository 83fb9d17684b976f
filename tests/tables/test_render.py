import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpmix.errors import DataError
from dpmix.tables.captions import TABLES
from dpmix.tables.cells import Cell
from dpmix.tables.html import html
from dpmix.tables.latex import latex
from dpmix.tables.markdown import markdown
from dpmix.tables.render import read, tidy_csv, write
from tests.tables.small_tables import RAGGED, MakeTable, grid_lines, small


def test_the_ends_of_a_ladder_are_written_in_every_format(tmp_path: Path) -> None:
    table = small(
        Cell(("A", "x"), ("V", "1"), (70.0, 72.0), 0.5),
        Cell(("A", "Zero-shot (ε = 0)"), ("V", "1"), (66.0,), 0.0, end=True),
        Cell(("A", "Non-private (ε = ∞)"), ("V", "1"), (90.0, 92.0), float("inf"), end=True),
        Cell(("B", "x"), ("V", "1"), (80.0, 80.0), 0.5),
    )
    rows = list(csv.DictReader(io.StringIO(tidy_csv(table))))
    assert [row["epsilon"] for row in rows] == ["0.500000", "0.000000", "inf", "0.500000"]
    assert [row["seeds"] for row in rows] == ["2", "1", "2", "2"]
    assert grid_lines(markdown(table))[3:5] == [
        ["", "Zero-shot (ε = 0)", "66.0"],
        ["", "Non-private (ε = ∞)", "91.0 (1.4)"],
    ]
    assert latex(table).count("\\addlinespace") == 1
    assert r"Non-private (\ensuremath{\varepsilon}~\ensuremath{=}~\ensuremath{\infty})" in latex(table)
    assert 'data-value="66"' in html(table)
    paths = write(table, tmp_path)
    assert "Infinity" not in paths[3].read_text(encoding="utf-8")
    assert read(paths[3]) == table


def test_csv_has_one_line_per_cell() -> None:
    rows = list(csv.DictReader(io.StringIO(tidy_csv(RAGGED))))
    assert list(rows[0]) == [
        *("Dataset", "Method", "Model", "ε", "mean", "sd", "seeds", "epsilon", "paper_mean", "paper_sd"),
        *("difference", "note"),
    ]
    assert list(rows[0].values()) == ["A", "x", "V", "1", "71", "1.41421", "2", "0.500000", "71.5", "0.2", "-0.5", ""]
    assert list(rows[2].values()) == ["A", "y", "V", "1", "", "", "0", "", "", "", "", "not installed"]
    assert rows[3]["note"] == "half, of it"


def test_csv_names_the_median(made: MakeTable) -> None:
    rows = list(csv.DictReader(io.StringIO(tidy_csv(made("11")))))
    assert float(rows[0]["median"]) == pytest.approx(made("11").cells[0].center)
    assert "mean" not in rows[0]


@pytest.mark.parametrize("number", TABLES)
def test_written_files_hold_the_table_and_are_the_same_each_time(made: MakeTable, number: str, tmp_path: Path) -> None:
    table = made(number)
    first = [path.read_bytes() for path in write(table, tmp_path)]
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        f"table{number}.{kind}" for kind in ("csv", "json", "md", "tex")
    ]
    assert [path.read_bytes() for path in write(table, tmp_path)] == first
    assert read(tmp_path / f"table{number}.json") == table


def test_a_broken_table_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "table1.json").write_text('{"number": 1}', encoding="utf-8")
    with pytest.raises(DataError, match=r"table1\.json.*make the table again"):
        read(tmp_path / "table1.json")


labels = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12)


@given(labels, labels)
def test_any_label_survives_the_csv(row: str, note: str) -> None:
    table = small(Cell((row, "x"), ("V", "1"), (1.0,), note=note))
    lines = list(csv.reader(io.StringIO(tidy_csv(table), newline="")))
    assert (lines[1][0], lines[1][-1]) == (row, note)
    with tempfile.TemporaryDirectory() as folder:
        assert read(write(table, Path(folder))[3]) == table
