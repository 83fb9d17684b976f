import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpmix.tables import latex as latex_module
from dpmix.tables.captions import TABLES
from dpmix.tables.cells import Cell
from dpmix.tables.latex import latex
from dpmix.tables.text import blocks
from tests.needs import LATEX, lacks, needs
from tests.tables.small_tables import ALL, RAGGED, MakeTable, small


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
