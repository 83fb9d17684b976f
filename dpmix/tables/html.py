"""A table as HTML in the paper's layout: header cells have a `scope`, numbers a `data-value` for sorting."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape as _escape

from dpmix.tables.cells import Cell, Key, Table
from dpmix.tables.text import SUBSCRIPT, blocks, group_starts, marks, number, ours, papers, stub

# More columns than this need a smaller type on paper.
_WIDE = 10


def escape(text: str) -> str:
    """`text` as HTML, with `K_BASE` and `DP-Mix_Self` subscripted."""
    return SUBSCRIPT.sub(r"<sub>\1</sub>", _escape(text))


@dataclass(frozen=True)
class Marks:
    """What a page adds to a cell.

    Attributes:
        attributes: further attributes of its `td`, such as ` data-cell=3`; begins with a space.
        after: HTML after its text.
    """

    attributes: str = ""
    after: str = ""


def _cell(cell: Cell | None, table: Table, letters: dict[str, str], more: Marks) -> str:
    if cell is None:
        return f"<td>{escape(ours(None, table))}</td>"
    text = escape(ours(cell, table))
    if cell.values and cell.note:
        text += f"<sup>{letters[cell.note]}</sup>"
    value = "" if cell.center is None else f' data-value="{cell.center:.6g}"'
    below = ""
    printed = papers(cell)
    if printed is not None:
        below = f'<span class="paper"><span class="spoken">paper </span>{escape(printed)}</span>'
        if cell.difference is not None:
            apart = number(abs(cell.difference), table)
            if apart != number(0.0, table):
                apart = ("−" if cell.difference < 0 else "+") + apart
            below += f' <span class="apart"><span class="spoken">difference </span>{apart}</span>'
    under = f"<span class=below>{below}</span>" if below else ""
    return f"<td{value}{more.attributes}><span>{text}{more.after}</span>{under}</td>"


def _header(table: Table, columns: tuple[Key, ...]) -> list[str]:
    levels = max(len(table.column_names), 1)
    lines = []
    for level in range(levels):
        line = ""
        if not table.row_names:
            line = f'<th scope="row">{escape(table.column_names[level]) if table.column_names else ""}</th>'
        elif level == 0:
            across = f' rowspan="{levels}"' if levels > 1 else ""
            line = "".join(f'<th scope="col"{across} class="key">{escape(name)}</th>' for name in table.row_names)
        if not table.column_names:
            line += f'<th scope="col" class="leaf">{escape(stub(table))}</th>'
        start = 0
        while table.column_names and start < len(columns):
            end = start + 1
            while (
                level < levels - 1 and end < len(columns) and columns[end][: level + 1] == columns[start][: level + 1]
            ):
                end += 1
            kind = 'scope="col" class="leaf"' if level == levels - 1 else f'scope="colgroup" colspan="{end - start}"'
            line += f"<th {kind}>{escape(columns[start][level])}</th>"
            start = end
        lines.append(f"<tr>{line}</tr>")
    return lines


def html(table: Table, more: Mapping[tuple[Key, Key], Marks] | None = None) -> str:
    """The table as `<table>` elements, one for each block of columns.

    A row label that repeats the one above it stays in the text, with the class `again` that hides it from sight.

    Args:
        table: the table.
        more: what the page adds to cells, by their rows and columns.
    """
    grid, letters, added = table.grid, marks(table), more or {}
    parts = []
    for columns in blocks(table):
        rows = []
        for row, start in zip(table.rows, group_starts(table.rows), strict=True):
            labels = [
                f'<th scope="row"{"" if level >= start else " class=again"}>{escape(label)}</th>'
                for level, label in enumerate(row)
            ] or [f'<th scope="row">{escape(stub(table))}</th>']
            cells = [
                _cell(grid.get((row, column)), table, letters, added.get((row, column), Marks())) for column in columns
            ]
            opens = " class=opens" if start == 0 and len(row) > 1 else ""
            rows.append(f"<tr{opens}>{''.join(labels + cells)}</tr>")
        kinds = ["sortable"] * (len(table.rows) > 1) + ["wide"] * (len(table.row_names) + len(columns) > _WIDE)
        marked = f' class="{" ".join(kinds)}"' if kinds else ""
        name = f"{table.heading}: {escape(table.title)}"
        head, body = "\n".join(_header(table, columns)), "\n".join(rows)
        parts.append(
            f'<table{marked}><caption class="spoken">{name}</caption>\n'
            f"<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody></table>"
        )
    return "\n".join(parts)
