"""Lists the images of a folder, zip archive or table as people have them: label, split and person of each.

Nothing is decoded. Which side an image is on is said by `dpmix.data.sides`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from dpmix.data.file_names import HIDDEN, LEFT_THERE, UNPRINTABLE, suffix, suffixes
from dpmix.data.inspection import damaged
from dpmix.data.label_table import Row
from dpmix.data.layout import NOT_NEEDED, Placed, composed, lay_out, split_word, with_archives
from dpmix.data.sides import KEY, TEST_SHARE, Found, sided, two_splits
from dpmix.data.table_rows import NOT_NAMED, Tables, given_table, rows_by_place, table_beside, tables_in
from dpmix.data.tree import EMPTY, TABLES, Files, Skipped, Tree, read_tree
from dpmix.errors import DataError

__all__ = ["ListedImage", "Listing", "Skipped", "read_listing"]

# What is skipped without a word also where all else is refused.
_NOT_MISSED = frozenset({LEFT_THERE, HIDDEN, UNPRINTABLE, NOT_NEEDED, NOT_NAMED})

PERSONS_PERHAPS = "Images lie in folders below those of their classes; if each is a person's, say so: `unit='person'`."


class ListedImage(NamedTuple):
    """One image.

    Attributes:
        place: its name below the listing's root, with slashes, also inside a zip archive.
        label: the place of its class in the listing's `classes`.
        split: "train" or "test".
        person: whose image it is, by a folder or a table; None where that is not said.
    """

    place: str
    label: int
    split: str
    person: str | None = None


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of a data set.

    Attributes:
        root: the folder or zip archive that they are in.
        images: sorted by class, then by place.
        classes: their names, sorted.
        skipped: what is not used, and why.
        split: "given"; or how it was drawn; or "none", with all images in the training set.
        notes: what was decided about the layout, a sentence each.
    """

    root: Path
    images: tuple[ListedImage, ...]
    classes: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    split: str = "given"
    notes: tuple[str, ...] = ()

    @cached_property
    def files(self) -> Files:
        """The image files by their places."""
        return Files(self.root)

    def of(self, split: str) -> tuple[ListedImage, ...]:
        """The images of a split, in order."""
        return tuple(image for image in self.images if image.split == split)

    def persons(self, split: str) -> tuple[str, ...]:
        """The persons with images in a split, sorted; none where persons are not known."""
        return tuple(sorted({image.person for image in self.of(split) if image.person is not None}))

    def without(self, leave_out: Iterable[Skipped]) -> "Listing":
        """The listing without some of its images; classes that lose all theirs remain."""
        out = tuple(leave_out)
        places = {one.place for one in out}
        images = tuple(image for image in self.images if image.place not in places)
        return replace(self, images=images, skipped=tuple(sorted((*self.skipped, *out))))


def read_listing(
    path: str | Path,
    *,
    persons: bool = False,
    test_share: float | None = TEST_SHARE,
    key: str = KEY,
    skip_damaged: bool = False,
    strict: bool = False,
) -> Listing:
    """List the images of a data set.

    Understood are: a folder or zip archive with a folder for each class, within `train` and `test` (also
    `training_set`, `Test`, …) or not; a folder of archives `train*.zip` and `test*.zip`; a table
    `file_name,label[,split][,person]`, given by its path, or in the folder, or beside it with the folder's name; and
    Hugging Face's image folders.

    Args:
        path: the folder, archive or table.
        persons: whether it must be known whose each image is: by a table's column `person`, or by folders
            `<class>/<person>/`, where the same name in several classes is the same person.
        test_share: the probability with which an image, or a person with all their images, is in the test set, if no
            split is given; None draws none, and all images are in the training set.
        key: public; another one draws another split.
        skip_damaged: whether to decode all images now and leave out those that cannot be read; `skipped` then has them.
        strict: whether files in class folders that are no images, and class folders without images, are refused and
            not skipped: where nobody reads what was skipped.

    Raises:
        DataError: one line, for a layout that leaves open what is meant.
    """
    if test_share is not None and not 0 < test_share < 1:
        raise DataError(
            f"the share of test images is {test_share:g}; give one above 0 and below 1, such as {TEST_SHARE}"
        )
    path = Path(path).expanduser()
    tree, archives, tables = _read(path)
    _refuse_unprintable(path, tree.skipped)
    rows, unlisted = rows_by_place(tree, tables)
    columns = {column for table in tables.values() for column in table.columns}
    by_folder = persons and "person" not in columns
    out = {one.place for one in unlisted}
    folders = 0 if "label" in columns else 1 + by_folder
    split_by_folder = any("split" not in table.columns for table in tables.values()) or not tables
    laid = lay_out(path, (place for place in tree.images if place not in out), archives, folders, split_by_folder)
    skipped, found = [*tree.skipped, *unlisted, *laid.skipped], []
    for image in laid.images:
        row = rows.get(image.place)
        if len(image.parts) < 2 and (row is None or row.label is None):
            skipped.append(Skipped(image.place, "in no class folder"))
        else:
            found.append(_found(path, image, row, persons, by_folder))
    _refuse_alike(path, laid.images, rows)
    if strict:
        _refuse_strange(path, laid.images, skipped)
    _refuse_some_persons(path, found)
    found, notes = two_splits(found, skipped)
    if "label" not in columns and not persons and any(len(image.parts) > 2 for image in laid.images):
        notes = (*notes, PERSONS_PERHAPS)
    images, split = sided(path, found, test_share, key)
    if not images:
        reason = f"; {skipped[0].place} is {skipped[0].why}" if skipped else ""
        raise DataError(f"{path} holds no image in a class folder{reason}; put each class's images into a folder")
    classes = tuple(sorted({one.label for one in found}))
    numbers = {name: number for number, name in enumerate(classes)}
    listed = sorted(
        (ListedImage(one.place, numbers[one.label], side, one.person) for one, side in images),
        key=lambda image: (image.label, image.place),
    )
    listing = Listing(tree.root, tuple(listed), classes, tuple(sorted(skipped)), split, (*laid.notes, *notes))
    if skip_damaged:
        listing = leave_out_damaged(listing, counted=not persons)
    return listing


def leave_out_damaged(listing: Listing, counted: bool = True) -> Listing:
    """The listing without the images that cannot be read; all are decoded for it.

    Args:
        listing: the images.
        counted: whether the screen may say how many images there are.
    """
    return listing.without(damaged(listing.files, [image.place for image in listing.images], counted=counted))


def _read(path: Path) -> tuple[Tree, dict[str, str], Tables]:
    """The files, the archives among them with their splits, and the tables that say what is on images."""
    if suffix(path.name) in TABLES and not path.is_dir():
        tree, tables = given_table(path)
        return tree, {}, tables
    tree, archives = with_archives(read_tree(path))
    tables, others = tables_in(tree)
    if not tables and (beside := table_beside(path)) is not None:
        tables = {"": beside}
    return tree._replace(skipped=(*tree.skipped, *others)), archives, tables


def _found(path: Path, image: Placed, row: Row | None, persons: bool, by_folder: bool) -> Found:
    person = row.person if row is not None else None
    if by_folder and len(image.parts) > 2:
        person = image.parts[1]
    if persons and person is None:
        where = "in no person's folder" if by_folder else "in no table with a column person"
        raise DataError(
            f"{path}: {image.place} is {where}; lay images as class/person/image, or name the person of each"
        )
    label = composed(row.label if row is not None and row.label is not None else image.parts[0])
    split = image.split
    if row is not None and row.split is not None:
        split = split_word(row.split)
        if split is None:
            raise DataError(
                f"{path}: line {row.line} of its table has the split {row.split!r}; write train or test, or remove the "
                "column to have the split drawn"
            )
    name = "/".join(image.parts) if person is None else person
    return Found(image.place, label, split, person and composed(person), composed(name))


def _refuse_unprintable(path: Path, skipped: Iterable[Skipped]) -> None:
    """Refuse images and folders of images whose names stand for no text: they could not be told of."""
    for one in skipped:
        if one.why == UNPRINTABLE and (one.place.endswith("/") or suffix(one.place) in suffixes()):
            raise DataError(f"{path}: {one.place}: {one.why}; or remove it")


def _refuse_alike(path: Path, images: Iterable[Placed], rows: Mapping[str, Row]) -> None:
    """Refuse class folders side by side whose names a person cannot tell apart, such as one with a space behind it."""
    seen: dict[tuple[str, str], str] = {}
    for image in images:
        row = rows.get(image.place)
        if len(image.parts) > 1 and (row is None or row.label is None):
            name, beside = image.parts[0], image.place.removesuffix("/".join(image.parts))
            if (other := seen.setdefault((beside, composed(name)), name)) != name:
                raise DataError(
                    f"{path}: the folders {beside}{other!r} and {name!r} read the same; rename one or lay them together"
                )


def _refuse_strange(path: Path, images: Iterable[Placed], skipped: Iterable[Skipped]) -> None:
    """Refuse what lies in class folders and is no image, but for litter, and class folders without images.

    A class needs training images, but no test image.
    """
    around = {image.place.removesuffix("/".join(image.parts)): image.split for image in images}
    lost = []
    for one in skipped:
        for beside, split in around.items():
            _, slash, within = one.place.removeprefix(beside).partition("/")
            if not one.place.startswith(beside) or not slash or one.why in _NOT_MISSED:
                continue
            if within if one.why != EMPTY else (not within and split != "test"):
                lost.append(one)
                break
    if lost:
        more = f", and {len(lost) - 1} more such files" if len(lost) > 1 else ""
        remedy = " or remove it" if ";" in lost[0].why else "; mend or remove it"
        raise DataError(f"{path / lost[0].place} is {lost[0].why}{remedy}{more}")


def _refuse_some_persons(path: Path, found: list[Found]) -> None:
    unknown = [one for one in found if one.person is None]
    if 0 < len(unknown) < len(found):
        raise DataError(
            f"{path}: nothing says whose image {unknown[0].place} is, but others' persons are named; say it of each "
            "image, or of none"
        )
