"""A table as Markdown in the paper's layout; headers of several levels are joined into one line."""

import re

from dpmix.tables.cells import Cell, Table
from dpmix.tables.text import blocks, footers, group_starts, heading, marks, ours, papers, stub

# What would be read as markup: not an underscore inside a word, `&` outside an entity, nor `[` without a link.
_MARKUP = re.compile(r"[\\|*<`~]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[])")


def escape(text: str) -> str:
    """`text` such that Markdown shows it unchanged, on one line."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.splitlines()))


def _cell(cell: Cell | None, table: Table) -> str:
    text = escape(ours(cell, table))
    if cell is not None and cell.values and cell.note:
        text += f" [{marks(table)[cell.note]}]"
    printed = papers(cell)
    return text if printed is None else f"{text} / {escape(printed)}"


def markdown(table: Table, *, named: bool = True) -> str:
    """The table as a Markdown document: heading, caption, grid (wide ones in several parts) and footers.

    Args:
        table: what to write.
        named: whether its name, such as `Table 9`, stands before its title.
    """
    lines = [f"## {f'{table.heading}. ' if named else ''}{escape(table.title)}", ""]
    if table.caption:
        lines += [escape(table.caption), ""]
    left = [escape(name) for name in table.row_names] or [escape(", ".join(table.column_names))]
    grid = table.grid
    for columns in blocks(table):
        heads = [escape(heading(column)) or escape(stub(table)) for column in columns]
        lines.append(f"| {' | '.join(left + heads)} |")
        lines.append(f"|{'|'.join([' :-- '] * len(left) + [' --: '] * len(heads))}|")
        for row, start in zip(table.rows, group_starts(table.rows), strict=True):
            labels = [escape(label) if level >= start else "" for level, label in enumerate(row)] or [stub(table)]
            lines.append(f"| {' | '.join(labels + [_cell(grid.get((row, column)), table) for column in columns])} |")
        lines.append("")
    return "\n".join([*lines, *(f"- {escape(line)}" for line in footers(table))]) + "\n"
