"""What the place of an image says of it: its split, class and person, by the folders that it lies in.

    [<folders that all share>/] [<split>/] [<folders that all share>/] <class>/ [<person>/] … <image>

Splits are called as in `split_word`. A folder of archives `train*.zip` and `test*.zip` is understood as one of folders.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dpmix.data.tree import Skipped, Tree, archive_tree
from dpmix.errors import DataError

_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
}

# Words in names of folders that may be of splits, but are not so called.
_LIKE_SPLITS = {
    "train": re.compile("train.*|trn|tr|learn.*|fit"),
    "test": re.compile("test.*|val|valid.*|eval.*|tst|ts|te|dev|holdout|predict.*|pred"),
}

NOT_NEEDED = "of a validation set, which nothing here is tuned on; move it into train or test to use it"

VALID_IS_TEST = "The validation set is the test set, since there is no other; nothing is tuned on it."


class Placed(NamedTuple):
    """An image by its place.

    Attributes:
        place: its name below the root.
        split: "train", "test" or "valid" by its folder; None if folders name no splits.
        parts: the names of the folders below that, from its class on, and of the file.
    """

    place: str
    split: str | None
    parts: tuple[str, ...]


class Layout(NamedTuple):
    """All images by their places.

    Attributes:
        images: in the order of their places.
        skipped: archives and images that are not used.
        notes: what was decided, a sentence each.
    """

    images: tuple[Placed, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


def split_word(name: str) -> str | None:
    """Which split a folder's name or a table's cell means: "train", "test", "valid", or None.

    >>> [split_word(name) for name in ("Train", "training_set", "test images", "VAL", "cat")]
    ['train', 'train', 'test', 'valid', None]
    """
    letters = re.sub(r"[^a-z]", "", name.lower())
    return _SPLITS.get(re.sub(r"(set|data|images|split)$", "", letters))


def with_archives(tree: Tree) -> tuple[Tree, dict[str, str]]:
    """A folder's tree with the images of its archives `train*.zip` and `test*.zip`, and each archive's split.

    Raises:
        DataError: for one of them without the other, or images beside them.
    """
    splits = {place: word for place in tree.archives if "/" not in place and (word := _archive_split(place))}
    if not splits or not {"train", "test"} & set(splits.values()):
        if tree.archives and not tree.images:
            raise DataError(
                f"{tree.root} holds zip archives but no images; give an archive by itself, or call them train.zip and "
                "test.zip"
            )
        unused = [
            Skipped(place, "a zip archive among other files; unpack it or give it by itself") for place in tree.archives
        ]
        return tree._replace(archives={}, skipped=tuple(sorted((*tree.skipped, *unused)))), {}
    for split in ("train", "test"):
        if split not in splits.values():
            raise DataError(f"{tree.root} has no archive {split}*.zip beside the others; add it")
    if tree.images:
        raise DataError(
            f"{tree.root} holds images, such as {next(iter(tree.images))}, beside archives train and test; move either "
            "away"
        )
    inner = [archive_tree(tree, place) for place in splits]
    others = [Skipped(place, "a zip archive beside train and test") for place in tree.archives if place not in splits]
    return Tree(
        tree.root,
        {place: file for one in inner for place, file in one.images.items()},
        dict(tree.tables) | {place: file for one in inner for place, file in one.tables.items()},
        {},
        tuple(sorted([*tree.skipped, *others, *(each for one in inner for each in one.skipped)])),
    ), splits


def _archive_split(place: str) -> str | None:
    """The split of an archive such as `train.zip`, `Train-0.zip` or `test_2.zip`."""
    word = re.split(r"[^a-z]", place.lower())[0]
    return _SPLITS.get(word) or split_word(place[:-4])


def lay_out(
    root: object, places: Iterable[str], archives: Mapping[str, str], folders_of_class: int, splits: bool = True
) -> Layout:
    """Find the split of each image, and take away folders that say nothing.

    Args:
        root: for messages.
        places: of all images.
        archives: the archives among the first folders and their splits (`with_archives`), or none.
        folders_of_class: how many folders an image lies in within its split: 1 (class), 2 (class and person), or 0 if
            a table says what it is.
        splits: whether folders may name splits; not if a table does.

    Raises:
        DataError: for folders of splits that leave open what is meant.
    """
    everything = [(place, tuple(place.split("/"))) for place in places]
    if archives:
        return _splits_done(everything, archives, folders_of_class, archives)
    everything = _unwrapped(everything, folders_of_class)
    if not splits:
        return Layout(tuple(Placed(place, None, parts) for place, parts in everything), (), ())
    firsts = sorted({parts[0] for _, parts in everything if len(parts) > 1})
    words = {name: word for name in firsts if (word := split_word(name))}
    split_names = set(words.values())
    if {"train", "test"} <= split_names or (split_names == {"train", "valid"} and len(words) == len(firsts)):
        if strange := [name for name in firsts if name not in words]:
            raise DataError(
                f"{root} has folders of splits and, beside them, {strange[0]}; move it into one of them, or away"
            )
        if len(words) != len(split_names):
            same = sorted(name for name in words if list(words.values()).count(words[name]) > 1)
            raise DataError(f"{root}: {' and '.join(same[:2])} are names of one split; lay them together")
        return _splits_done(everything, words, folders_of_class, {})
    if words and (len(words) == len(firsts) or any(_holds_classes(everything, name) for name in words)):
        name = next(iter(words))
        raise DataError(
            f"{root} has a folder {name} but not both train and test; add the other, or put the class folders into "
            f"{root} itself to have them split"
        )
    if folders_of_class:
        # What lies in folders all of whose images have more around them than class and person.
        flat = {parts[0] for _, parts in everything if len(parts) <= folders_of_class + 1}
        below: dict[str, set[str]] = {}
        for _, parts in everything:
            if parts[0] not in flat:
                below.setdefault(parts[0], set()).add(parts[1])
        _refuse_like_splits(root, below)
        _refuse_splits_of_classes(root, below)
    return Layout(tuple(Placed(place, None, parts) for place, parts in everything), (), ())


def _holds_classes(everything: list[tuple[str, tuple[str, ...]]], name: str) -> bool:
    """Whether a folder holds nothing but several folders, as a split does, and a class that is called so does not."""
    below = [parts[1:] for _, parts in everything if parts[0] == name]
    return all(len(parts) > 1 for parts in below) and len({parts[0] for parts in below}) > 1


def _refuse_like_splits(root: object, below: Mapping[str, set[str]]) -> None:
    """Refuse folders such as `seg_train` and `seg_test`, below which classes may lie, as if they were the classes."""
    like = {
        kind: [name for name in sorted(below) if any(map(pattern.fullmatch, _words(name))) and len(below[name]) > 1]
        for kind, pattern in _LIKE_SPLITS.items()
    }
    for train, test in itertools.product(like["train"], like["test"]):
        if below[train] & below[test]:
            raise DataError(f"{root} has folders {train} and {test}, which may be splits; call them train and test")


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]


def _refuse_splits_of_classes(root: object, below: Mapping[str, set[str]]) -> None:
    """Refuse a class folder that holds nothing but the folders of splits: they would say nothing of its images."""
    for name, inner in below.items():
        words = {split_word(one) for one in inner}
        if None not in words and len(words) > 1 and "train" in words:
            raise DataError(
                f"{root} has folders of splits below that of a class, such as {name}/{min(inner)}; lay the classes "
                f"below the splits: {min(inner)}/{name}"
            )


def _unwrapped(images: list[tuple[str, tuple[str, ...]]], folders: int) -> list[tuple[str, tuple[str, ...]]]:
    """Take first folders away that all images share, as long as they lie in more than `folders` folders."""
    stray = [(place, parts) for place, parts in images if len(parts) == 1]
    images = [(place, parts) for place, parts in images if len(parts) > 1]
    while images and min(len(parts) for _, parts in images) > folders + 1:
        firsts = {parts[0] for _, parts in images}
        if len(firsts) > 1 or split_word(next(iter(firsts))):
            break
        images = [(place, parts[1:]) for place, parts in images]
    return stray + images


def _splits_done(
    everything: list[tuple[str, tuple[str, ...]]],
    words: Mapping[str, str],
    folders: int,
    archives: Mapping[str, str],
) -> Layout:
    """The layout where the first folder, or archive, of each image names its split."""
    within: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    skipped = []
    for place, parts in everything:
        if len(parts) > 1:
            within.setdefault(words[parts[0]], []).append((place, parts[1:]))
        else:
            skipped.append(Skipped(place, "in no folder of a split"))
    notes = []
    if "test" not in within and "valid" in within:
        within["test"] = within.pop("valid")
        notes.append(VALID_IS_TEST)
    skipped += [Skipped(place, NOT_NEEDED) for place, _ in within.pop("valid", ())]
    # An archive may repeat its split as a folder, and each split may hold one folder with the class folders.
    for split, images in within.items():
        firsts = {parts[0] for _, parts in images if len(parts) > 1}
        if archives and len(firsts) == 1 and split_word(next(iter(firsts))) == split:
            within[split] = [(place, parts[1:]) for place, parts in images]
    while _all_share_one(within, folders):
        within = {split: [(place, parts[1:]) for place, parts in images] for split, images in within.items()}
    placed = sorted(Placed(place, split, parts) for split, some in within.items() for place, parts in some)
    return Layout(tuple(placed), tuple(skipped), tuple(notes))


def _all_share_one(within: Mapping[str, list[tuple[str, tuple[str, ...]]]], folders: int) -> bool:
    """Whether every split holds nothing but one folder of the same name, with class folders below it."""
    everything = [parts for images in within.values() for _, parts in images]
    return bool(everything) and min(map(len, everything)) > folders + 1 and len({parts[0] for parts in everything}) == 1


def composed(name: str) -> str:
    """A name in composed letters: macOS writes ä as two, and the same class or person may come from elsewhere too."""
    return unicodedata.normalize("NFC", name.strip().strip("\ufeff").strip())
