r"""A table as a LaTeX float in the paper's layout; a document that includes it loads `booktabs` and `graphicx`."""

import re

from dpmix.tables.cells import Cell, Key, Table
from dpmix.tables.text import SUBSCRIPT, blocks, footers, group_starts, marks, ours, papers, stub

# With more columns than this, the paper's values stand below the measured ones rather than beside them.
SIDE_BY_SIDE = 2

_PLAIN = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: "\\" + character for character in "&%$#{}_"},
    # At the start of a row either would be read as an argument of the line break before it.
    "[": "{[}",
    "*": "{*}",
    "–": "--",
    "—": "---",
    "−": r"\ensuremath{-}",
    "×": r"\ensuremath{\times}",
    "·": r"\ensuremath{\cdot}",
    "±": r"\ensuremath{\pm}",
    "≤": r"\ensuremath{\le}",
    "≥": r"\ensuremath{\ge}",
    "→": r"\ensuremath{\to}",
    "∞": r"\ensuremath{\infty}",
    "ε": r"\ensuremath{\varepsilon}",
    "δ": r"\ensuremath{\delta}",
    "σ": r"\ensuremath{\sigma}",
    "λ": r"\ensuremath{\lambda}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\dots{}",
    "\u00a0": "~",
}
_EQUATION = re.compile(r"(ε|δ|σ|λ|K_[A-Z]+) ([=≤≥<>]) (\d+(?:\.\d+)?|∞)")


def escape(text: str) -> str:
    r"""`text` as LaTeX source that needs no package: `ε` becomes `\varepsilon`, `K_BASE` a K with a subscript.

    A character that LaTeX's default font may lack would be an error, so it is replaced by its code point.
    """
    text = _EQUATION.sub("\\1\u00a0\\2\u00a0\\3", text)
    parts = []
    for index, piece in enumerate(SUBSCRIPT.split(text)):
        if index % 2:
            parts.append(rf"\textsubscript{{{piece}}}")
            continue
        for character in piece:
            known = _PLAIN.get(character)
            if known is None:
                known = character if ord(character) < 0x180 else rf"\texttt{{U+{ord(character):04X}}}"
            parts.append(known)
    return "".join(parts).replace("~=~", r"~\ensuremath{=}~")


def _cell(cell: Cell | None, table: Table) -> str:
    text = escape(ours(cell, table))
    if cell is not None and cell.values and cell.note:
        text += rf"\textsuperscript{{{marks(table)[cell.note]}}}"
    return text


def _header(table: Table, columns: tuple[Key, ...]) -> list[str]:
    """One header line for each level of the column labels; equal neighbours share a cell, with a rule below it."""
    left = len(table.row_names) or 1
    levels = len(table.column_names)
    if levels == 0:
        return [" & ".join([escape(name) for name in table.row_names] + [escape(stub(table))]) + r" \\"]
    lines = []
    for level in range(levels):
        names = [""] * left
        if not table.row_names:
            names = [escape(table.column_names[level])]
        elif level == levels - 1:
            names = [escape(name) for name in table.row_names]
        entries, rules, start = [], [], 0
        while start < len(columns):
            end = start + 1
            if level < levels - 1:
                while end < len(columns) and columns[end][: level + 1] == columns[start][: level + 1]:
                    end += 1
            label = escape(columns[start][level])
            entries.append(label if end - start == 1 else rf"\multicolumn{{{end - start}}}{{c}}{{{label}}}")
            if level < levels - 1:
                rules.append(rf"\cmidrule(lr){{{left + start + 1}-{left + end}}}")
            start = end
        lines.append(" & ".join(names + entries) + r" \\")
        if rules:
            lines.append(" ".join(rules))
    return lines


def _body(table: Table, columns: tuple[Key, ...], stacked: bool) -> list[str]:
    grid = table.grid
    lines = []
    for index, (row, start) in enumerate(zip(table.rows, group_starts(table.rows), strict=True)):
        if index and start == 0 and len(row) > 1:
            lines.append(r"\midrule")
        labels = [escape(label) if level >= start else "" for level, label in enumerate(row)] or [escape(stub(table))]
        cells = [grid.get((row, column)) for column in columns]
        ends = [other for other in table.rows if all(cell.end for cell in table.cells if cell.row == other)]
        if row in ends and table.rows[index - 1] not in ends:
            lines.append(r"\addlinespace")
        entries = [_cell(cell, table) for cell in cells]
        printed = [papers(cell) for cell in cells]
        if not stacked:
            beside = [
                entry if value is None else f"{entry} / {escape(value)}"
                for entry, value in zip(entries, printed, strict=True)
            ]
            lines.append(" & ".join(labels + beside) + r" \\")
            continue
        lines.append(" & ".join(labels + entries) + r" \\*")
        under = ["" if value is None else rf"\footnotesize\itshape {escape(value)}" for value in printed]
        if any(under):
            lines.append(" & ".join([""] * len(labels) + under) + r" \\[2pt]")
    return lines


def latex(table: Table) -> str:
    """The table as a `table` environment, scaled down if it is wider than the line, and never scaled up."""
    left = len(table.row_names) or 1
    # With many columns, measured values and the paper's on one line would be too wide to read.
    stacked = table.has_paper and len(table.columns) > SIDE_BY_SIDE
    lines = [
        r"% \usepackage{booktabs,graphicx}",
        r"\begin{table}[tbp]",
        r"\centering\small\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{\textbf{{{escape(table.title)}.}}{f' {escape(table.caption)}' if table.caption else ''}}}",
        rf"\label{{tab:dpmix-{table.scale}-{table.name}}}",
    ]
    for index, columns in enumerate(blocks(table)):
        if index:
            lines.append(r"\par\medskip")
        lines += [
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{@{{}}{'l' * left}{'c' * len(columns)}@{{}}}}",
            r"\toprule",
            *_header(table, columns),
            r"\midrule",
            *_body(table, columns, stacked),
            r"\bottomrule",
            r"\end{tabular}}",
        ]
    lines += [
        r"\par\smallskip",
        rf"\parbox{{\linewidth}}{{\footnotesize\raggedright {' '.join(map(escape, footers(table, stacked)))}}}",
    ]
    return "\n".join([*lines, r"\end{table}"]) + "\n"
