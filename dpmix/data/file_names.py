"""What a file's name says of it: an image that Pillow reads, litter of an operating system, or something else."""

import functools
import unicodedata

# Files and folders that operating systems and servers put among images, in lower case.
LITTER = frozenset({"thumbs.db", "desktop.ini"})
_LITTER_FOLDERS = frozenset({"__macosx", "@eadir"})

# Formats that Pillow passes to other programs, or lists without being able to decode them.
_NOT_PICTURES = frozenset({"EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR", "FITS"})


@functools.cache
def suffixes() -> frozenset[str]:
    """The suffixes of image formats that Pillow decodes, in lower case, such as ".png"."""
    from PIL import Image

    return frozenset(
        suffix
        for suffix, kind in Image.registered_extensions().items()
        if kind in Image.OPEN and kind not in _NOT_PICTURES
    )


def objection(name: str) -> str | None:
    """Why a file or folder of this name is passed over, or None.

    >>> objection("Thumbs.db"), objection(".1.png"), objection("1.png")
    ('left there by an operating system', 'hidden: its name begins with a dot', None)
    """
    if name.lower() in LITTER | _LITTER_FOLDERS or name == ".DS_Store" or name.startswith("._"):
        return "left there by an operating system"
    if name.startswith("."):
        return "hidden: its name begins with a dot"
    if printable(name) != name:
        return "its name has letters that cannot be printed; rename it"
    return None


def printable(name: str) -> str:
    """A name with its control characters, and bytes that are no letters, written as escapes."""
    escaped = (unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
    return "".join(
        letter.encode("unicode_escape").decode() if escape else letter
        for letter, escape in zip(name, escaped, strict=True)
    )


def suffix(name: str) -> str:
    """The suffix of a file's name in lower case, with its dot; empty if it has none."""
    return "." + name.rsplit(".", 1)[1].lower() if "." in name.lstrip(".") else ""
