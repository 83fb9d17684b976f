"""Examines private images before training: what is damaged, doubled, rare or left out, and whose images are many.

Nothing leaves the machine. The report reads private images without noise, so ε does not cover it: it is for those who
may see the images themselves.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dpmix.data.images import SPLITS
from dpmix.data.inspection import NAMED, Inspected, inspect
from dpmix.data.listing import Listing
from dpmix.data.tree import Skipped
from dpmix.own.images.duplicates import SIDE, look_alike, same_files
from dpmix.own.images.fit import counts_of, few, in_both_splits, of_so, unfit
from dpmix.wording import counted

# Of a class with fewer training images, noise leaves little.
TINY = 50

# From how many images a person is told of.
MANY = 2


@dataclass(frozen=True)
class Group:
    """Images that are the same file, or look alike.

    Attributes:
        places: of the images, those in the training set first.
        alike: whether they look alike; else they are the same file.
        in_train: how many of them are training images.
        in_test: how many are test images.
        classes: the names of their classes.
    """

    places: tuple[str, ...]
    alike: bool
    in_train: int
    in_test: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        listing: the images that were examined, without the damaged ones.
        counts: of each class, how many training and test images it has.
        damaged: images that cannot be read.
        groups: images that are there more than once; those that are the same file first.
        mend: what keeps training from beginning, a sentence each.
        warnings: what makes a model worse, its accuracy wrong or its protection weaker, a sentence each.
    """

    listing: Listing
    counts: dict[str, tuple[int, int]]
    damaged: tuple[Skipped, ...]
    groups: tuple[Group, ...]
    mend: tuple[str, ...]
    warnings: tuple[str, ...]


def examine(listing: Listing, *, unit: str = "image", alike: bool = True, leave_out_damaged: bool = False) -> Report:
    """Read and decode all images of a listing, and report what to mend and what to know.

    Args:
        listing: the images.
        unit: whom ε is to protect, an `image` or a `person`.
        alike: whether to compare all images with each other, in time that grows with their number squared.
        leave_out_damaged: whether damaged images are to be left out, and so need not be mended.
    """
    places = [image.place for image in listing.images]
    seen = list(inspect(listing.files, places, SIDE))
    damaged = tuple(Skipped(place, one.why) for place, one in zip(places, seen, strict=True) if one.why is not None)
    whole = listing.without(damaged)
    groups = tuple(_groups(whole, [one for one in seen if one.why is None], alike))
    mend = [*([] if leave_out_damaged else _damage(damaged)), *unfit(whole, unit)]
    warnings = [*listing.notes, *_left_out(whole.skipped if leave_out_damaged else listing.skipped)]
    warnings += [*_rare(whole), *_doubled(groups), *_persons(whole, unit)]
    return Report(whole, counts_of(whole), damaged, groups, tuple(mend), tuple(warnings))


def _groups(listing: Listing, seen: Sequence[Inspected], alike: bool) -> Iterable[Group]:
    """Groups of same files, and of images that look alike, without those whose images are all one file."""

    def group(indices: Sequence[int], alike: bool) -> Group:
        images = sorted((listing.images[index] for index in indices), key=lambda image: image.split == "test")
        sides = Counter(image.split for image in images)
        names = tuple(listing.classes[label] for label in sorted({image.label for image in images}))
        return Group(tuple(image.place for image in images), alike, sides["train"], sides["test"], names)

    digests = [one.digest for one in seen]
    for indices in same_files(digests):
        yield group(indices, False)
    if alike:
        thumbnails = np.array([one.thumbnail for one in seen], dtype=np.uint8).reshape(-1, 3, SIDE, SIDE)
        for indices in look_alike(thumbnails):
            if len({digests[index] for index in indices}) > 1:
                yield group(indices, True)


# Sentences
def _damage(damaged: Sequence[Skipped]) -> list[str]:
    if not damaged:
        return []
    return [
        f"{of_so(len(damaged), 'image is', 'images are')} damaged: {few((one.place for one in damaged), NAMED)}; "
        "replace or remove, or leave out by `skip_damaged=True`"
    ]


def _left_out(skipped: Sequence[Skipped]) -> list[str]:
    """What was skipped, by reason; litter of operating systems is not worth a warning."""
    by_reason: dict[str, list[str]] = {}
    for one in skipped:
        if "operating system" not in one.why:
            by_reason.setdefault(one.why, []).append(one.place)
    return [f"Skipped, {why}: {few(places)}" for why, places in by_reason.items()]


def _rare(listing: Listing) -> list[str]:
    counts = counts_of(listing)
    found = []
    if tiny := sorted((train, name) for name, (train, _) in counts.items() if 0 < train < TINY):
        named = few(f"{name} ({train})" for train, name in tiny)
        found.append(
            f"{of_so(len(tiny), 'class has', 'classes have')} fewer than {TINY} training images, of which noise leaves "
            f"little: {named}"
        )
    untested = [name for name, (_, test) in counts.items() if not test]
    if untested and listing.of("test"):
        found.append(
            f"{of_so(len(untested), 'class has', 'classes have')} no test image, so that no accuracy says how well it "
            f"is told: {few(untested)}"
        )
    return found


def _doubled(groups: Sequence[Group]) -> list[str]:
    found = []
    for alike in (False, True):
        what, may = ("look alike", "may be") if alike else ("are the same file", "is")
        of_kind = [group for group in groups if group.alike == alike]
        if across := [group for group in of_kind if group.in_train and group.in_test]:
            images = counted(sum(group.in_test for group in across), "test image")
            found.append(
                f"{images} and training images {what}, so that the test accuracy {may} too high: {_pairs(across, -1)}"
            )
        if within := [group for group in of_kind if group.in_train > 1]:
            most = max(group.in_train for group in within)
            found.append(
                f"{counted(len(within), 'group')} of training images {what}, up to {most}; a picture that is there "
                f"more than once is protected less, as a person with so many images is: {_pairs(within)}"
            )
        if labels := [group for group in of_kind if len(group.classes) > 1]:
            named = few(f"{_pairs([group])} ({' and '.join(group.classes)})" for group in labels)
            found.append(f"{counted(len(labels), 'group')} of images {what}, but their classes differ: {named}")
    return found


def _persons(listing: Listing, unit: str) -> list[str]:
    found = []
    by_person = Counter(image.person for image in listing.of("train") if image.person is not None)
    if both := in_both_splits(listing):
        found.append(
            f"{of_so(len(both), 'person has', 'persons have')} images in train and test, so that the test accuracy is "
            f"too high: {few(both)}"
        )
    many = [(name, count) for name, count in by_person.most_common() if count >= MANY]
    if many and unit == "image":  # else their ε is for the person already
        name, most = many[0]
        middle = int(np.median(list(by_person.values())))
        found.append(
            f"{len(many)} of {counted(len(by_person), 'person')} have several training images, {middle} in the middle "
            f"and {most} at most ({name}); an ε for one image protects them less, the more images they have, so ask "
            "for `unit='person'`, whose ε holds for all images of a person"
        )
    return found


def _pairs(groups: Sequence[Group], other: int = 1) -> str:
    """Of each group the first image, and beside it the one at this index: 1 is of the same split, -1 of another."""
    return few(f"{group.places[0]} {'≈' if group.alike else '='} {group.places[other]}" for group in groups)


def as_json(report: Report) -> dict[str, object]:
    """All of a report in JSON's types."""
    listing = report.listing
    return {
        "root": str(listing.root),
        "split": listing.split,
        "classes": {name: dict(zip(SPLITS, counts, strict=True)) for name, counts in report.counts.items()},
        "persons": {split: len(listing.persons(split)) for split in SPLITS} if listing.persons("train") else None,
        "damaged": [one._asdict() for one in report.damaged],
        "skipped": [one._asdict() for one in listing.skipped if one not in report.damaged],
        "duplicates": [
            {
                "images": list(group.places),
                "why": "look alike" if group.alike else "same file",
                "train": group.in_train,
                "test": group.in_test,
                "classes": list(group.classes),
            }
            for group in report.groups
        ],
        "mend": list(report.mend),
        "warnings": list(report.warnings),
        "covered_by_epsilon": False,
    }
