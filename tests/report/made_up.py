"""Small folders of results, and a reader of pages, for the tests of the report."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from dpmix.tables.cells import Cell, PaperValue, Table
from dpmix.tables.render import write

VOID = {"meta", "link", "img", "br", "input", "hr"}
# The smallest valid PNG: one transparent pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc330000000049"
    "454e44ae426082"
)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))  # of an SVG

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def table(number: str, scale: str) -> Table:
    paper = PaperValue(71.5, 0.2, "71.5 (.2)") if scale == "paper" else None
    cells = tuple(
        Cell((row,), ("V & <W>", column), (70.0 + at, 72.0), 0.99, paper=paper)
        for at, (row, column) in enumerate((row, column) for row in ("A", "DP-Mix_Self") for column in ("1", "2"))
    )
    title, caption = "Title <x>", "A caption & more."
    return Table(
        number, title, caption, "test accuracy (%)", ("Method",), ("Model", "ε"), cells, scale, notes=("A <note>.",)
    )


def results(folder: Path, scale: str = "demo") -> Path:
    root = folder / "results" / scale
    for number in (10, 2):
        write(table(str(number), scale), root / "tables")
    (root / "figures").mkdir(parents=True)
    for name in ("figure1.png", "figure1.pdf", "figure2.png", "figure2.csv", "other.png"):
        (root / "figures" / name).write_bytes(PIXEL)
    return root


def payload_of(text: str) -> dict[str, Any]:
    """What a page's script knows."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    assert found is not None
    return json.loads(found[1])
