import csv
import io
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpmix.errors import DataError
from dpmix.tables import latex as latex_module
from dpmix.tables.captions import TABLES
from dpmix.tables.cells import Cell, PaperValue, Table
from dpmix.tables.html import html
from dpmix.tables.latex import latex
from dpmix.tables.markdown import markdown
from dpmix.tables.render import read, tidy_csv, write
from dpmix.tables.text import blocks
from tests.needs import LATEX, lacks, needs

MakeTable = Callable[..., Table]

ALL = [
    pytest.param(number, paper, id=f"{number}{'-paper' if paper else ''}")
    for number in TABLES
    for paper in (True, False)
]


def small(*cells: Cell) -> Table:
    return Table("2", "Title", "Caption", "test accuracy (%)", ("Dataset", "Method"), ("Model", "ε"), cells, "demo")


RAGGED = small(
    Cell(("A", "x"), ("V", "1"), (70.0, 72.0), 0.5, paper=PaperValue(71.5, 0.2, "71.5 (.2)")),
    Cell(("A", "x"), ("V", "2"), (75.0,), 0.5),
    Cell(("A", "y"), ("V", "1"), note="not installed"),
    Cell(("B", "x"), ("C", "1"), (80.0,), note="half, of it"),
)


def grid_lines(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


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


def test_markdown_layout() -> None:
    lines = grid_lines(markdown(RAGGED))
    assert lines[0] == ["Dataset", "Method", "V, 1", "V, 2", "C, 1"]
    assert lines[2] == ["A", "x", "71.0 (1.4) / 71.5 (.2)", "75.0", "–"]
    assert lines[3] == ["", "y", "not installed", "–", "–"]
    assert lines[4] == ["B", "x", "–", "–", "80.0 [a]"]
    assert "[a] half, of it." in markdown(RAGGED)


@pytest.mark.parametrize(("number", "paper"), ALL)
def test_markdown_grids_are_rectangular_and_complete(made: MakeTable, number: str, paper: bool) -> None:
    table = made(number, paper=paper)
    text = markdown(table)
    for block in text.split("\n\n"):
        assert len({len(line) for line in grid_lines(block)}) <= 1
    centers = [f"{cell.center:.1f}" for cell in table.cells if cell.center is not None]
    if number != "13":
        assert all(center in text for center in centers)
    assert (" / " in text.replace("w/", "")) == paper


def test_markdown_shows_special_characters() -> None:
    table = small(Cell(("a|b", "*x*"), ("<V>", "1"), (1.0,)))
    assert "| a\\|b | \\*x\\* |" in markdown(table)
    assert "\\<V>" in markdown(table)


def test_table_9_breaks_into_blocks_by_views(made: MakeTable) -> None:
    lines = grid_lines(markdown(made("9")))
    heads = [line for line in lines if line[0] == "K_BASE, K_SELF, K_DIFF"]
    assert [len(head) - 1 for head in heads] == [9, 9, 9]
    assert heads[1][1] == "16, 8, 0"
    assert {line[0] for line in lines} == {"K_BASE, K_SELF, K_DIFF", ":--", "Test accuracy (%)"}


def test_latex_spans_the_groups_of_columns(made: MakeTable) -> None:
    source = latex(made("3"))
    assert r"\multicolumn{4}{c}{Vit-B-16} & \multicolumn{4}{c}{ConvNext} \\" in source
    assert r"\cmidrule(lr){3-6} \cmidrule(lr){7-10}" in source
    assert source.count(r"CIFAR-100 &") == 1
    assert source.count(r"\midrule") == 6
    assert r"DP-Mix\textsubscript{Self}" in source


@pytest.mark.parametrize(("number", "paper"), ALL)
def test_latex_rows_are_as_wide_as_their_tabular(made: MakeTable, number: str, paper: bool) -> None:
    source = latex(made(number, paper=paper))
    found = re.findall(r"\\begin\{tabular\}\{@\{\}([lc]+)@\{\}\}(.*?)\\end\{tabular\}", source, re.DOTALL)
    assert len(found) == len(blocks(made(number, paper=paper)))
    for columns, content in found:
        rows = re.findall(r"^(.*) \\\\\*?(?:\[2pt\])?$", content, re.MULTILINE)
        assert len(rows) > len(made(number).rows)
        for row in rows:
            spans = [int(span) - 1 for span in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            assert len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans) == len(columns), row


def test_latex_escapes() -> None:
    assert latex_module.escape("50 % of #1 & all_classes") == r"50 \% of \#1 \& all\_classes"
    assert latex_module.escape("K_BASE, DP-Mix_Diff") == r"K\textsubscript{BASE}, DP-Mix\textsubscript{Diff}"
    assert latex_module.escape("ε = 1") == r"\ensuremath{\varepsilon}~\ensuremath{=}~1"
    assert latex_module.escape("[*] \\x{}") == r"{[}{*}] \textbackslash{}x\{\}"
    assert latex_module.escape("猫") == r"\texttt{U+732B}"


@given(st.text(max_size=40))
def test_latex_escapes_leave_only_characters_that_latin_fonts_have(text: str) -> None:
    escaped = latex_module.escape(text)
    assert all(ord(character) < 0x180 for character in escaped)
    assert not re.search(r"(?<!\\)[%#&$_]", escaped.replace("\\\\", ""))


def compile_latex(source: str, folder: Path) -> str:
    """The log of a compilation; fails the test when there is no document in the end."""
    (folder / "all.tex").write_text(source, encoding="utf-8")
    if shutil.which("pdflatex"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    elif shutil.which("tectonic"):
        command = ["tectonic", "--keep-logs", "all.tex"]
    else:
        lacks(LATEX)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (folder / "all.pdf").stat().st_size > 0
    return (folder / "all.log").read_text(encoding="utf-8", errors="replace")


@needs(LATEX, bool(shutil.which("pdflatex") or shutil.which("tectonic")))
def test_latex_compiles_and_fits_the_page(made: MakeTable, tmp_path: Path) -> None:
    odd = "[x] *y* ~ ^ \\ { } _ % # & $ < > | é — … 猫"
    strange = small(Cell((odd, odd), (odd, odd), (1.0, 2.0), note=odd), Cell((odd, "y"), (odd, "z"), note=odd))
    tables = [made(number, paper=paper) for number in TABLES for paper in (True, False)]
    pages = "\\clearpage\n".join(latex(table) for table in [*tables, RAGGED, strange])
    source = rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{pages}\end{{document}}"
    log = compile_latex(source, tmp_path)
    assert "Overfull" not in log
    assert "Float too large" not in log
    assert "Missing character" not in log


class Outline(HTMLParser):
    """What a screen reader is told about each table: its cells, by row, with spans."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[int]] = []
        self.headers: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "table":
            self.tables.append([])
            self.spans: list[int] = []
        elif tag == "tr":
            self.spans = [left - 1 for left in self.spans if left > 1]
            self.tables[-1].append(len(self.spans))
        elif tag in ("td", "th"):
            self.tables[-1][-1] += int(values.get("colspan") or 1)
            if values.get("rowspan"):
                self.spans.append(int(values["rowspan"] or 1))
            if tag == "th":
                self.headers.append(values)


@pytest.mark.parametrize(("number", "paper"), ALL)
def test_html_is_rectangular_and_every_header_has_a_scope(made: MakeTable, number: str, paper: bool) -> None:
    outline = Outline()
    outline.feed(html(made(number, paper=paper)))
    assert len(outline.tables) == (3 if number == "9" else 1)
    for table in outline.tables:
        assert len(set(table)) == 1, table
    assert all(header.get("scope") in ("row", "col", "colgroup") for header in outline.headers)


def test_html_escapes_and_shows_difference() -> None:
    text = html(small(Cell(("<b>", "DP-Mix_Self"), ("&", "1"), (70.0,), paper=PaperValue(71.5, None, "71.5"))))
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert "DP-Mix<sub>Self</sub>" in text
    assert "−1.5" in text
    assert 'data-value="70"' in text


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
