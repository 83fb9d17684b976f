import html

import pytest
from markdown_it import MarkdownIt

from dpmix.tables.cells import Cell
from dpmix.tables.markdown import escape, markdown
from tests.tables.small_tables import ALL, RAGGED, MakeTable, grid_lines, small


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


@pytest.mark.parametrize(
    "text",
    [
        "_a_ __b__ c_d_e",
        "~~a~~ ~b",
        "[a](b) [c][d] [e]",
        "&lt; &amp;x & y &#65;",
        "\\_ \\*",
        "`c` <b> **d** a*b*c",
        "K_BASE, DP-Mix_Self",
        "| a || b |",
    ],
)
def test_whoever_reads_markdown_shows_the_text_as_it_was(text: str) -> None:
    shown = MarkdownIt("gfm-like", {"linkify": False}).renderInline(escape(text))
    assert html.unescape(shown) == text
    assert escape("two\nlines") == "two lines"


def test_table_9_breaks_into_blocks_by_views(made: MakeTable) -> None:
    lines = grid_lines(markdown(made("9")))
    heads = [line for line in lines if line[0] == "K_BASE, K_SELF, K_DIFF"]
    assert [len(head) - 1 for head in heads] == [9, 9, 9]
    assert heads[1][1] == "16, 8, 0"
    assert {line[0] for line in lines} == {"K_BASE, K_SELF, K_DIFF", ":--", "Test accuracy (%)"}
