"""Which side an image is on, training or test: as folders and tables say, or by a public key.

Where no split is given, an image's side is a function of the key and its own name (or its person's) alone. It depends
neither on its content nor on what else there is: with one image more or less the others stay where they are, as ε for
one image needs it. So a class has a share of its images in the test set on average, and not exactly.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from dpmix.data.layout import NOT_NEEDED, VALID_IS_TEST
from dpmix.data.tree import Skipped
from dpmix.errors import DataError

# Of a split that is drawn.
TEST_SHARE, KEY = 0.2, "dpmix"


class Found(NamedTuple):
    """What folders and tables say of an image.

    Attributes:
        place: its name below the listing's root.
        label: its class.
        split: as it is given, or None.
        person: whose it is, or None.
        name: what decides on its side if no split is given: its own within its split, or its person's.
    """

    place: str
    label: str
    split: str | None
    person: str | None
    name: str


def two_splits(found: list[Found], skipped: list[Skipped]) -> tuple[list[Found], tuple[str, ...]]:
    """Take validation images of a table as test images if there are no others, and else away, as `lay_out` does.

    Args:
        found: all images.
        skipped: gets those that are taken away.

    Returns:
        The images that stay, and sentences on what was decided.
    """
    splits = {one.split for one in found}
    if "valid" not in splits:
        return found, ()
    if "test" in splits:
        skipped += [Skipped(one.place, NOT_NEEDED) for one in found if one.split == "valid"]
        return [one for one in found if one.split != "valid"], ()
    return [one._replace(split="test") if one.split == "valid" else one for one in found], (VALID_IS_TEST,)


def sided(path: Path, found: list[Found], share: float | None, key: str) -> tuple[list[tuple[Found, str]], str]:
    """Each image with its side, and how these came about.

    Args:
        path: the data set, for the message.
        found: its images.
        share: the probability of being in the test set where no split is given; None draws none.
        key: the public key of the draw.

    Raises:
        DataError: if a split is given of some images alone.
    """
    given = [one for one in found if one.split is not None]
    if len(given) < len(found):
        if given:
            one = next(one for one in found if one.split is None)
            raise DataError(f"{path}: {one.place} is in no split, but others are; say for each image, or for none")
        if share is None:
            return [(one, "train") for one in found], "none"
        sides = [(one, "test" if in_test(one.name, key, share) else "train") for one in found]
        by = "a person" if any(one.person is not None for one in found) else "an image"
        return sides, f"drawn by the key {key!r}, {by} being tested on with probability {share:g}"
    return [(one, str(one.split)) for one in found], "given"


def in_test(name: str, key: str, share: float) -> bool:
    """Whether an image, or person, of this name is in the test set: SHA-256(key, name) in [0, 1) is below the share."""
    drawn = hashlib.sha256(f"{key}\0{name}".encode()).digest()[:8]
    return int.from_bytes(drawn, "big") < share * 2**64
