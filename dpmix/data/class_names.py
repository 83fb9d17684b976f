"""Class names in plain words, made from the names of folders in data sets; different classes stay different."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence

from dpmix.errors import DataError, suggestion


def readable(name: str) -> str:
    """A class's name as words, for stores and reports; it can also be the name of a folder.

    `001.ak47` becomes `ak47`, `faces-easy-101` `faces easy`, `AnnualCrop` `annual crop`,
    `apartment_building/outdoor` `apartment building outdoor`.
    """
    return _words(name, number=r"\d{3}")


def prompt_name(name: str) -> str:
    """A class's name in a caption: "AnnualCrop", "101.annual-crop" and "annual_crop" become "annual crop"."""
    return _words(name, number=r"\d+")


def _words(name: str, number: str) -> str:
    name = re.sub(rf"^{number}\.(?=\D)", "", name)  # Caltech-256 numbers its folders; 0.5mm is no such number
    name = re.sub(r"-101$", "", name)  # and marks those taken over from Caltech-101
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # EuroSAT writes in camel case
    return _spaced(name).lower() or name


def _spaced(name: str) -> str:
    return re.sub(r"[\s_/-]+", " ", name).strip()


def readable_names(names: Sequence[str]) -> list[str]:
    """`readable` of each name; names that then were the same keep more of themselves.

    >>> readable_names(["AnnualCrop", "Cat", "cat"])
    ['annual crop', 'Cat', 'cat']
    """
    return _distinct(names, readable)


def prompt_names(names: Sequence[str]) -> list[str]:
    """`prompt_name` of each name; names that then were the same keep more of themselves.

    >>> prompt_names(["025.cactus", "2.cat", "3.cat"])
    ['cactus', '2.cat', '3.cat']
    """
    return _distinct(names, prompt_name)


def _distinct(names: Sequence[str], simple: Callable[[str], str]) -> list[str]:
    forms: tuple[Callable[[str], str], ...] = (simple, _spaced, str)
    level = dict.fromkeys(names, 0)
    while True:
        written = {name: forms[at](name) for name, at in level.items()}
        seen = Counter(written.values())
        alike = [name for name, at in level.items() if seen[written[name]] > 1 and at + 1 < len(forms)]
        if not alike:
            return [written[name] for name in names]
        level |= {name: level[name] + 1 for name in alike}


def matched(names: Sequence[str], classes: Sequence[str], where: str) -> dict[str, int]:
    """Which class each name stands for: that of the same name, or else the only one that is the same in plain words.

    Args:
        names: of folders or of a table's labels.
        classes: the names of the classes.
        where: the names' source, for messages.

    Returns:
        The place of each name's class in `classes`.

    Raises:
        DataError: for a name that is no class, or one of several that could be the same class.

    >>> matched(["cat", "sea_lake", "Cat"], ["Cat", "cat", "SeaLake"], "d")
    {'cat': 1, 'sea_lake': 2, 'Cat': 0}
    """
    found = {name: classes.index(name) for name in names if name in classes}
    open_classes: dict[str, list[int]] = {}
    for number, name in enumerate(classes):
        if number not in found.values():
            open_classes.setdefault(readable(name), []).append(number)
    by_words: dict[str, list[str]] = {}
    for name in names:
        if name not in found:
            by_words.setdefault(readable(name), []).append(name)
    for words, same in by_words.items():
        numbers = open_classes.get(words, [])
        if not numbers:
            raise DataError(
                f"{where} has a folder {same[0]!r}, which is no class of this data set; "
                f"{suggestion(same[0], classes)}; rename or remove it"
            )
        if len(numbers) > 1 or len(same) > 1:
            two = same if len(same) > 1 else [classes[number] for number in numbers]
            what = f"{where} has folders" if len(same) > 1 else "the data set has classes"
            raise DataError(
                f"{what} {two[0]!r} and {two[1]!r}, which both read {words!r}; name the folders in {where} as the "
                f"classes are: {', '.join(classes[number] for number in numbers)}"
            )
        found[same[0]] = numbers[0]
    return {name: found[name] for name in names}


def folder_names(classes: Sequence[str]) -> tuple[str, ...]:
    """A folder's name for each class: the class's own where it can be one, else what is left of it and a hash.

    It cannot where another differs in case alone, since some disks take the two for one.

    >>> folder_names(["sea lake", "../x", ".cat"])
    ('sea lake', 'x-d6b96a97', 'cat-0dc6f7c1')
    """
    alike = Counter(name.casefold() for name in classes)
    return tuple(name if _names_a_folder(name) and alike[name.casefold()] == 1 else _slug(name) for name in classes)


def _names_a_folder(name: str) -> bool:
    fits = all(part and part[0] != "." and len(part.encode()) <= 200 for part in name.split("/"))
    return fits and name.isprintable() and "\\" not in name


def _slug(name: str) -> str:
    kept = re.sub(r"[^\w.+-]+", "-", name).strip("-.")[:40]
    return f"{kept or 'class'}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"
