"""Whether images are fit to be trained and tested on at all, whatever is in them; nothing is decoded."""

from collections import Counter
from collections.abc import Iterable

from dpmix.data.listing import Listing
from dpmix.errors import DataError
from dpmix.own.images.duplicates import one_file


def refuse_unfit(listing: Listing, unit: str = "image") -> None:
    """Refuse images that no model can be trained and tested on, whatever is in them; nothing is decoded.

    Raises:
        DataError: one line with the first reason.
    """
    if reasons := unfit(listing, unit):
        raise DataError(f"{listing.root}: {reasons[0]}")


def unfit(listing: Listing, unit: str = "image") -> list[str]:
    """Why no model can be trained and tested on these images, a sentence each; nothing is decoded.

    Args:
        listing: the images.
        unit: whom ε is to protect; a person must not be on both sides, where neither ε covers both.
    """
    reasons = []
    if len(listing.classes) < 2:
        reasons.append(f"all images are of one class, {listing.classes[0]}; add images of another")
    counts = counts_of(listing)
    if missing := [name for name, (train, _) in counts.items() if not train]:
        of = f"class {missing[0]} has" if len(missing) == 1 else f"{len(missing)} classes, such as {missing[0]}, have"
        drawn = listing.split != "given"
        remedy = "; add images, leave it out, or say in a table which images to train on" if drawn else "; add some"
        reasons.append(f"{of} no training image{remedy}")
    if not listing.of("test"):
        together = "some, or lay all images together to have the split drawn"
        larger = "images, or ask for a larger share of test images: `test_share`"
        reasons.append(f"there is no test image; add {together if listing.split == 'given' else larger}")
    if linked := [group for group in one_file(listing) if unit == "image" or len({one.person for one in group}) > 1]:
        named = few(" = ".join(image.place for image in group[:2]) for group in linked)
        reasons.append(
            f"{of_so(len(linked), 'file is', 'files are')} there under several names, by links, and would count as "
            f"several {unit}s with the protection of one: {named}; keep one name of each"
        )
    if unit == "person" and (both := in_both_splits(listing)):
        reasons.append(
            f"{of_so(len(both), 'person has', 'persons have')} images in train and test, so that ε would not cover "
            f"them: {few(both)}; lay all images of a person on one side"
        )
    return reasons


def in_both_splits(listing: Listing) -> list[str]:
    """The persons with training and test images."""
    return sorted(set(listing.persons("train")) & set(listing.persons("test")))


def counts_of(listing: Listing) -> dict[str, tuple[int, int]]:
    """Of each class, how many training and test images it has."""
    by = Counter((image.label, image.split) for image in listing.images)
    return {name: (by[number, "train"], by[number, "test"]) for number, name in enumerate(listing.classes)}


def of_so(count: int, one: str, several: str) -> str:
    """A count with the words for one or for several."""
    return f"{count:,} {one if count == 1 else several}"


def few(names: Iterable[str], most: int = 5) -> str:
    """The first of some names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
