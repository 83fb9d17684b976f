"""Which image each row of a label table is about."""

import os
import posixpath
import unicodedata
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from dpmix.data import zips
from dpmix.data.file_names import is_image, objection, printable
from dpmix.data.label_table import LabelTable, Row, read_table
from dpmix.data.tree import TABLES, Skipped, Tree, is_archive, read_tree, why_no_image
from dpmix.errors import DataError

NOT_NAMED = "not named in the table"

# Tables by the place of their folder, which ends with a slash; that of the root is empty.
Tables = Mapping[str, LabelTable]


def tables_in(tree: Tree) -> tuple[Tables, tuple[Skipped, ...]]:
    """The label tables below a root, and those that are about something else.

    Raises:
        DataError: if a folder has two, or one is damaged.
    """
    tables: dict[str, LabelTable] = {}
    others = []
    for place, file in tree.tables.items():
        table, folder = read_table(str(file.path), file.read()), place[: place.rfind("/") + 1]
        if table is None or table.columns == {"file_name"}:
            why = (
                "a table without a column file_name" if table is None else "a table of neither label, split nor person"
            )
            others.append(Skipped(place, why))
        elif folder in tables:
            raise DataError(f"{tables[folder].where} and {table.where} both say what is on images; move one away")
        else:
            tables[folder] = table
    return tables, tuple(others)


def table_beside(root: Path) -> LabelTable | None:
    """The table that lies beside a folder or archive and has its name: `my-images.csv` beside `my-images`."""
    path = path_beside(root)
    return read_table(str(path), path.read_bytes()) if path is not None else None


def path_beside(root: Path) -> Path | None:
    """Where `table_beside` finds a table; None if there is none."""
    stem = root.resolve().with_suffix("") if is_archive(root.name) else root.resolve()
    for ending in sorted(TABLES):
        path = stem.with_name(stem.name + ending)
        if path.is_file() and read_table(str(path), path.read_bytes()) is not None:
            return path
    return None


def given_table(path: Path, *, labelled: bool = True) -> tuple[Tree, Tables]:
    """A table that is given by its path, and the images that it names.

    Its file names are relative to its folder, or else to the folder or archive beside it that has its name.

    Args:
        path: the table.
        labelled: whether it must have a column `label`.

    Raises:
        DataError: if it is missing or damaged, names no file, or lacks a column.
    """
    try:
        table = read_table(str(path), path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a CSV file_name,label") from error
    if table is None:
        raise DataError(f"{path} has no column file_name; its first line names the columns: file_name,label")
    if not table.rows:
        raise DataError(f"{path} names no image; add a line for each: file_name,label")
    if labelled and "label" not in table.columns:
        raise DataError(f"{path} has no column label, only {', '.join(table.named)}; name one label")
    root = path.parent
    beside = path.with_suffix("")
    if _on_disk(table.rows[0].file_name, root) is None:
        for place in (beside, beside.with_suffix(".zip"), beside.with_suffix(".ZIP")):
            if place.exists():
                return read_tree(place)._replace(archives={}, tables={}), {"": table}
    return _tree_of(root, table), {"": table}


def _tree_of(root: Path, table: LabelTable) -> Tree:
    """The files that a table names, and no others: its folder may hold anything else."""
    images, skipped = {}, []
    for row in table.rows:
        name = _on_disk(row.file_name, root)
        if name is None:
            continue
        file = zips.File(root / name)
        why = next((why for part in name.split("/") if (why := objection(part))), None)
        if not file.path.is_file():
            if not file.path.is_symlink():
                continue
            why = "a link to a file that does not exist"
        elif why is None and not is_image(file.path.name, partial(file.begins, 16)):
            why = why_no_image(file)
        if why is None:
            images[name] = file
        else:
            skipped.append(Skipped(printable(name), why))
    return Tree(root, dict(sorted(images.items())), {}, {}, tuple(sorted(skipped)))


def rows_by_place(tree: Tree, tables: Tables) -> tuple[dict[str, Row], tuple[Skipped, ...]]:
    """The row of each image, by its place, and the images that a table of labels leaves out.

    Raises:
        DataError: one line, for rows whose files are not there, or two about one file.
    """
    places = {_composed(place): place for place in tree.images}
    passed_over = {_composed(one.place) for one in tree.skipped}
    found: dict[str, Row] = {}
    for folder, table in tables.items():
        missing = []
        for row in table.rows:
            names = [_composed(folder + name) for name in _names(row.file_name, tree.root)]
            place = next((places[name] for name in names if name in places), None)
            if place is None:
                if not passed_over.intersection(names):
                    missing.append(row)
            elif place in found:
                raise DataError(f"{table.where}, line {row.line}: {row.file_name} has a line already; keep one")
            else:
                found[place] = row
        if missing:
            files = "a file that is" if len(missing) == 1 else f"{len(missing)} files that are"
            raise DataError(
                f"{table.where} names {files} not there: {missing[0].file_name} (line {missing[0].line}); correct the "
                "names, which are relative to the table's folder"
            )
    labelled = [folder for folder, table in tables.items() if "label" in table.columns]
    unlisted = [
        Skipped(place, NOT_NAMED)
        for place in tree.images
        if place not in found and any(place.startswith(folder) for folder in labelled)
    ]
    return found, tuple(unlisted)


def _names(written: str, root: Path) -> Iterator[str]:
    """What a table's file name may mean, relative to its folder; names that climb out of it mean nothing."""
    for name in dict.fromkeys((written, written.replace("\\", "/"))):
        if name.startswith("/"):
            if not name.startswith(f"{root.resolve()}/"):
                continue
            name = name.removeprefix(f"{root.resolve()}/")
        name = posixpath.normpath(name)
        if name.split("/")[0] != "..":
            yield name
            # A table beside the folder may name the folder too.
            if name.startswith(f"{root.resolve().name}/"):
                yield name.split("/", 1)[1]


def _on_disk(written: str, root: Path) -> str | None:
    """The first of `_names` that is there, with its accents as they are there, composed or not; None if none is."""
    for name in _names(written, root):
        for form in dict.fromkeys((name, _composed(name), unicodedata.normalize("NFD", name))):
            if os.path.lexists(root / form):
                return form
    return None


def _composed(place: str) -> str:
    return unicodedata.normalize("NFC", place)
