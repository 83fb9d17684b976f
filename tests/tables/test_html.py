from html.parser import HTMLParser

import pytest

from dpmix.tables.cells import Cell, PaperValue
from dpmix.tables.html import html
from tests.tables.small_tables import ALL, MakeTable, small


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
