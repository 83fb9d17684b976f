"""What stands in each format, read back from it, against the measurements by numpy and the paper's own words."""

import csv
import html as html_module
import io
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser

import numpy as np
import pytest

from dpmix.tables import latex as latex_module
from dpmix.tables import markdown as markdown_module
from dpmix.tables.captions import MINUTES, TABLES
from dpmix.tables.cells import Cell, PaperValue, Table
from dpmix.tables.html import escape as html_escape
from dpmix.tables.html import html
from dpmix.tables.latex import SIDE_BY_SIDE, latex
from dpmix.tables.markdown import markdown
from dpmix.tables.render import tidy_csv
from dpmix.tables.text import blocks, duration, footers

MakeTable = Callable[..., Table]
ALL = {f"{number}{'-paper' if paper else ''}": (number, paper) for number in TABLES for paper in (True, False)}
Place = tuple[tuple[str, ...], tuple[str, ...]]


def rounded(value: float, table: Table) -> str:
    return duration(value) if table.unit == MINUTES else f"{value:.1f}"


def measured(cell: Cell, table: Table) -> str:
    """`mean (sd)` over seeds, or why there is none."""
    if not cell.values:
        return cell.note
    center = np.median(cell.values) if cell.statistic == "median" else np.mean(cell.values)
    sd = rounded(float(np.std(cell.values, ddof=1)), table)
    return f"{rounded(float(center), table)} ({sd.removeprefix('0') if table.unit != MINUTES else sd})"


def printed(cell: Cell) -> str | None:
    return cell.paper.text if cell.paper is not None and (cell.values or cell.paper.mean is not None) else None


def noted(cell: Cell) -> bool:
    return bool(cell.values and cell.note)


@pytest.fixture(params=list(ALL))
def table(made: MakeTable, request: pytest.FixtureRequest) -> Table:
    number, paper = ALL[request.param]
    return made(number, paper=paper)


def filled(rows: list[list[str]], labels: int) -> list[list[str]]:
    """Rows whose empty labels are those of the row above."""
    found: list[list[str]] = []
    for row in rows:
        found.append([text or found[-1][at] if at < labels else text for at, text in enumerate(row)])
    return found


def expected_by_place(table: Table, show: Callable[[Cell], object]) -> dict[Place, object]:
    return {(cell.row, cell.column): show(cell) for cell in table.cells}


# Markdown -------------------------------------------------------------------------------------------------------------


def test_markdown_shows_every_cell_at_its_place(table: Table) -> None:
    lines = [line for line in markdown(table).splitlines() if line.startswith("|")]
    rows = [[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    height, left = len(table.rows) + 2, len(table.row_names) or 1
    found: dict[Place, object] = {}
    for index, columns in enumerate(blocks(table)):
        body = filled(rows[index * height + 2 : (index + 1) * height], left)
        for row, texts in zip(table.rows, body, strict=True):
            if row:
                assert texts[:left] == [markdown_module.escape(label) for label in row]
            found |= {(row, column): text for column, text in zip(columns, texts[left:], strict=True)}

    def show(cell: Cell) -> str:
        text = markdown_module.escape(measured(cell, table)) + (" [a]" if noted(cell) else "")
        return text if printed(cell) is None else f"{text} / {markdown_module.escape(str(printed(cell)))}"

    assert found == expected_by_place(table, show)


# LaTeX ----------------------------------------------------------------------------------------------------------------


def test_latex_shows_every_cell_at_its_place(table: Table) -> None:
    source, left = latex(table), len(table.row_names) or 1
    stacked = table.has_paper and len(table.columns) > SIDE_BY_SIDE
    found: dict[Place, object] = {}
    tabulars = re.findall(r"\\toprule\n.*?\\midrule\n(.*?)\\bottomrule", source, re.DOTALL)
    for columns, body in zip(blocks(table), tabulars, strict=True):
        lines = [line for line in body.splitlines() if "&" in line]
        rows = [re.split(r"(?<!\\) & ", re.sub(r" \\\\\*?(\[2pt\])?$", "", line)) for line in lines]
        under = [row for row in rows if not any(row[:left]) and any(r"\footnotesize\itshape" in text for text in row)]
        over = filled([row for row in rows if row not in under], left)
        assert bool(under) == stacked
        below = iter(
            rows[rows.index(row) + 1] if rows.index(row) + 1 < len(rows) else [] for row in rows if row not in under
        )
        for row, texts, beneath in zip(table.rows, over, below, strict=True):
            if row:
                assert texts[:left] == [latex_module.escape(label) for label in row]
            for at, column in enumerate(columns, start=left):
                said = beneath[at].removeprefix(r"\footnotesize\itshape ") if beneath in under else ""
                found[row, column] = (texts[at], said)

    def show(cell: Cell) -> tuple[str, str]:
        text = latex_module.escape(measured(cell, table)) + (r"\textsuperscript{a}" if noted(cell) else "")
        paper = "" if printed(cell) is None else latex_module.escape(str(printed(cell)))
        if stacked:
            return text, paper
        return f"{text} / {paper}" if paper else text, ""

    assert found == expected_by_place(table, show)


# HTML -----------------------------------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """The text of each cell by table and row, the value that it is sorted by, and what stands below."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[dict[str, str]]] = []
        self.cell: dict[str, str] | None = None
        self.into: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.cell = {"kind": tag, "value": values.get("data-value") or "", "text": "", "below": "", "spoken": ""}
            self.rows[-1].append(self.cell)
            self.into = ["text"]
        elif tag in ("span", "sup", "sub") and self.cell is not None:
            named = {"below": "below", "paper": "below", "apart": "apart", "spoken": "spoken"}
            self.into.append("mark" if tag == "sup" else named.get(values.get("class") or "", self.into[-1]))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("span", "sup", "sub") and self.cell is not None:
            self.into.pop()
        elif tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell[self.into[-1]] = self.cell.get(self.into[-1], "") + data


def test_html_shows_every_cell_at_its_place(table: Table) -> None:
    body = "".join(re.findall(r"<tbody>(.*?)</tbody>", html(table), re.DOTALL))
    rows, left = Cells(body).rows, len(table.row_names) or 1
    found: dict[Place, object] = {}
    per_block = len(table.rows)
    for index, columns in enumerate(blocks(table)):
        for row, cells in zip(table.rows, rows[index * per_block : (index + 1) * per_block], strict=True):
            assert [cell["kind"] for cell in cells] == ["th"] * left + ["td"] * len(columns)
            if row:
                assert [cell["text"] for cell in cells[:left]] == [label.replace("_", "") for label in row]
            for column, cell in zip(columns, cells[left:], strict=True):
                said = (cell["text"], cell.get("mark", ""), cell["below"].strip(), cell.get("apart", ""), cell["value"])
                found[row, column] = said

    def show(cell: Cell) -> tuple[str, ...]:
        apart, value = "", ""
        if cell.values:
            center = float(np.median(cell.values) if cell.statistic == "median" else np.mean(cell.values))
            value = f"{center:.6g}"
            if cell.paper is not None and cell.paper.mean is not None:
                off = center - cell.paper.mean
                apart = rounded(abs(off), table)
                if apart != rounded(0.0, table):
                    apart = ("−" if off < 0 else "+") + apart
        return measured(cell, table), "a" if noted(cell) else "", printed(cell) or "", apart, value

    assert found == expected_by_place(table, show)


# CSV ------------------------------------------------------------------------------------------------------------------


def test_the_csv_has_every_number(table: Table) -> None:
    # Of ε, what is left beyond the sixth digit counts as one more.
    odd = [replace(cell, epsilon=None if cell.epsilon is None else cell.epsilon + 4e-7) for cell in table.cells]
    table = replace(table, cells=tuple(odd))
    rows = list(csv.DictReader(io.StringIO(tidy_csv(table))))
    assert len(rows) == len(table.cells)
    keys = (*table.row_names, *table.column_names)
    for line, cell in zip(rows, table.cells, strict=True):
        assert tuple(line[name] for name in keys) == cell.row + cell.column
        assert (int(line["seeds"]), line["note"]) == (len(cell.values), cell.note)
        center = line["median" if any(one.statistic == "median" for one in table.cells) else "mean"]
        if cell.values:
            expected = np.median(cell.values) if cell.statistic == "median" else np.mean(cell.values)
            assert float(center) == pytest.approx(expected, rel=1e-5)
            assert float(line["sd"]) == pytest.approx(np.std(cell.values, ddof=1), rel=1e-5)
        else:
            assert (center, line["sd"]) == ("", "")
        paper = cell.paper or PaperValue(None, None, "")
        for name, value in (("paper_mean", paper.mean), ("paper_sd", paper.sd)):
            assert line[name] == "" if value is None else float(line[name]) == pytest.approx(value, rel=1e-5)
        if cell.values and paper.mean is not None:
            assert float(line["difference"]) == pytest.approx(float(expected) - paper.mean, rel=1e-4, abs=1e-6)
        else:
            assert line["difference"] == ""
        if cell.epsilon is None:
            assert line["epsilon"] == ""
        else:  # rounded up, to six digits
            above = Decimal(line["epsilon"]) - Decimal(repr(cell.epsilon))
            assert 0 <= above < Decimal("1e-6")


# Words ----------------------------------------------------------------------------------------------------------------


def test_every_format_has_its_words(table: Table) -> None:
    text, source, page = markdown(table), latex(table), html(table)
    assert text.startswith(f"## Table {table.name}. {markdown_module.escape(table.title)}\n\n")
    assert f"\n{markdown_module.escape(table.caption)}\n" in text
    said = [f"- {markdown_module.escape(line)}" for line in footers(table)]
    assert text.splitlines()[-len(said) :] == said
    words = tuple(map(latex_module.escape, (table.title, table.caption)))
    assert r"\caption{{\textbf{{{}.}} {}}}".format(*words) in source
    assert rf"\label{{tab:dpmix-paper-{table.name}}}" in source
    stacked = table.has_paper and len(table.columns) > SIDE_BY_SIDE
    under = " ".join(map(latex_module.escape, footers(table, stacked)))
    assert rf"\parbox{{\linewidth}}{{\footnotesize\raggedright {under}}}" in source
    assert f"Table {table.name}: {html_escape(table.title)}</caption>" in page


def test_footers_say_what_stands_where(made: MakeTable) -> None:
    plain, beside, stacked = footers(made("2", paper=False)), footers(made("2")), footers(made("2"), stacked=True)
    assert plain[0] == "Cells: mean (sample standard deviation over seeds)."
    assert beside[0] == "Cells: this run, mean (sample standard deviation over seeds) / the paper, as printed."
    assert (
        stacked[0] == "Cells: this run, mean (sample standard deviation over seeds); below it, the paper, as printed."
    )
    assert "median" in footers(made("11"))[0]
    assert plain[1:3] == ("Seeds: 3.", "Largest ε executed: ε = 1: 1.000; ε = 2: 1.999; ε = 4: 3.997; ε = 8: 7.993.")
    assert plain[-2:] == ("[a] 64 % of the images, & all_classes.", "Chosen on 10 % of the training set.")
    assert not any("ε executed" in line for line in footers(made("13")))


def test_footers_say_the_range_of_seeds_and_the_largest_epsilon(made: MakeTable) -> None:
    table = made("12", paper=False)
    first, *others = table.cells
    fewer = replace(table, cells=(replace(first, values=first.values[:2], epsilon=0.5), *others))
    assert footers(fewer)[1:3] == ("Seeds: 2 to 3.", "Largest ε executed: 1.000.")


def test_what_html_escapes_is_read_back() -> None:
    assert html_module.unescape(html_escape("a < b & c")) == "a < b & c"
