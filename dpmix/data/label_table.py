"""Tables that say what is on images: `file_name,label[,split][,person]` as CSV, TSV or JSON lines.

They are those of Hugging Face's image folders (`metadata.csv`, `metadata.jsonl`): file names are relative to the folder
of the table, and columns that are not known here are not read.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from dpmix.data.file_names import printable
from dpmix.errors import DataError, one_line

# What each column may be called.
COLUMNS = {
    "file_name": ("file_name", "filename"),
    "label": ("label",),
    "split": ("split",),
    "person": ("person",),
}

HEADER = 2**16
"""Bytes in which the names of the columns are looked for."""


class Row(NamedTuple):
    """What a table says of one image; None where it has no such column."""

    line: int
    file_name: str
    label: str | None
    split: str | None
    person: str | None


class LabelTable(NamedTuple):
    """One table.

    Attributes:
        where: its path, for messages.
        columns: the keys of `COLUMNS` that it has.
        named: what all its columns are called, for messages.
        rows: in its order.
    """

    where: str
    columns: frozenset[str]
    named: tuple[str, ...]
    rows: tuple[Row, ...]


def may_name_files(begin: bytes) -> bool:
    """Whether a table may have a column `file_name`, by its first `HEADER` bytes; a manifest is none."""
    head = begin.replace(b"\0", b"").lower()  # as if in UTF-8, if it is in UTF-16
    return not begin.startswith(b"# {") and any(name in head for name in (b"file_name", b"filename"))


def read_table(where: str, content: bytes) -> LabelTable | None:
    """Read a table; None if it has no column `file_name`, and so is about something else.

    Args:
        where: its path; the end says of which kind it is.
        content: the file.

    Raises:
        DataError: one line, if it is damaged, has a column twice, names a file twice, or a cell that is needed is empty
            or has letters that cannot be printed.
    """
    # Looked at before all else: a folder may hold any other table, in any encoding, or a manifest.
    if not may_name_files(content[:HEADER]):
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 ({error.reason}); save it as CSV in UTF-8") from error
    try:
        named, records = _of_json(text) if where.lower().endswith(".jsonl") else _of_csv(text)
        listed = list(records) if named else []
    except (csv.Error, ValueError, AttributeError) as error:
        raise DataError(f"{where} is damaged ({one_line(error, 200)}); correct it") from error
    called = {column: [name for name in named if _is(column, name)] for column in COLUMNS}
    if not called["file_name"]:
        return None
    for column, names in called.items():
        if len(names) > 1:
            raise DataError(
                f"{where} has {len(names)} columns for {column}: {', '.join(map(repr, names))}; keep one of them, or "
                "give the others another name"
            )
    found = {column: names[0] for column, names in called.items() if names}
    rows, seen = [], dict[str, int]()
    for line, record in listed:
        cells = {column: _cell(record.get(name)) for column, name in found.items()}
        for column, cell in cells.items():
            if not cell:
                raise DataError(f"{where}, line {line}: {column} is empty; fill it in or remove the line")
            if printable(cell) != cell:
                raise DataError(
                    f"{where}, line {line}: {column} {printable(cell)} has letters that cannot be printed; write it "
                    "without them"
                )
        row = Row(line, cells["file_name"], cells.get("label"), cells.get("split"), cells.get("person"))
        if (first := seen.setdefault(row.file_name, line)) != line:
            raise DataError(
                f"{where}: lines {first} and {line} are about the same file {row.file_name}; keep one (an image has "
                "one label here)"
            )
        rows.append(row)
    return LabelTable(where, frozenset(found), tuple(named), tuple(rows))


def _cell(value: Any) -> str:
    """A cell as text. Whole numbers that a table keeps as such, as labels often are, become their digits."""
    if isinstance(value, list | dict):
        raise DataError(f"{json.dumps(value)[:60]} is more than one value; give one label for each image")
    return "" if value is None else str(value).strip()


def _is(column: str, name: str) -> bool:
    return name.strip().lower() in COLUMNS[column]


def _of_csv(text: str) -> tuple[list[str], Iterator[tuple[int, dict[str, Any]]]]:
    """The columns' names, and each line's number and cells. Commas, semicolons or tabs stand between cells."""
    text = text.lstrip("\ufeff")  # a second mark, of files that were put together
    header = next((line for line in text.splitlines() if line.strip()), "")
    said = re.fullmatch(r'"?sep=(.)"?', header.strip(" "))  # Excel's first line
    between = said[1] if said else max(",;\t", key=lambda one: (_known(header, one), header.count(one)))
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True, skipinitialspace=True)
    filled = (cells for cells in lines if any(cells))
    if said:
        next(filled, None)
    named = next(filled, [])

    def records() -> Iterator[tuple[int, dict[str, Any]]]:
        for cells in filled:
            if len(cells) != len(named):
                raise ValueError(f"line {lines.line_num} has {len(cells)} cells, not {len(named)}")
            yield lines.line_num, dict(zip(named, cells, strict=True))

    return named, records()


def _known(header: str, between: str) -> int:
    """How many of a header's cells are names of `COLUMNS` if `between` stands between them."""
    cells = next(csv.reader([header], delimiter=between, skipinitialspace=True), [])
    return sum(_is(column, cell) for cell in cells for column in COLUMNS)


def _of_json(text: str) -> tuple[list[str], Iterator[tuple[int, dict[str, Any]]]]:
    # Only ends of lines: JSON may hold other letters at which `splitlines` would cut.
    lines = enumerate(text.lstrip("\ufeff").split("\n"), 1)
    records = [(number, _object(number, line)) for number, line in lines if line.strip()]
    return list(dict.fromkeys(name for _, record in records for name in record)), iter(records)


def _object(number: int, line: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) < len(pairs):
            raise ValueError(f"line {number} has a key twice")
        return record

    record = json.loads(line, object_pairs_hook=once)
    if not isinstance(record, dict):
        raise ValueError(f"line {number} is no object such as " + '{"file_name": "1.png", "label": "cat"}')
    return record
