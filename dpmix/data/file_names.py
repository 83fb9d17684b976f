"""What a file's name says of it: an image that Pillow reads, litter of an operating system, or something else."""

import functools
import unicodedata
from collections.abc import Callable

# Files and folders that operating systems and servers put among images, in lower case.
LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r"})
# Also bins and snapshots, whose images would be taken for those of a class.
_LITTER_FOLDERS = frozenset(
    {
        "__macosx",
        "@eadir",
        "#recycle",
        "@recycle",
        "$recycle.bin",
        "#snapshot",
        "@recently-snapshot",
        "lost+found",
        "network trash folder",
        "system volume information",
        "temporary items",
    }
)

LEFT_THERE, HIDDEN = "left there by an operating system", "hidden: its name begins with a dot"

UNPRINTABLE = "its name has letters that cannot be printed, or is not in UTF-8; rename it (a zip archive: pack it anew)"

# How files of formats begin whose names cameras and programs get wrong, and how they should end.
_BEGINS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"GIF8": ".gif"}

# Telephones give JPEGs this name when they convert them.
_TELEPHONES = frozenset({".heic", ".heif"})

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


def is_image(name: str, begin: Callable[[], bytes]) -> bool:
    """Whether a file is an image by its name, or a JPEG or the like that a telephone gave the name of another format.

    Args:
        name: its name.
        begin: reads its first 16 bytes; called only where they are needed.
    """
    ending = suffix(name)
    return ending in suffixes() or (ending in _TELEPHONES and right_suffix(begin()) is not None)


def right_suffix(begin: bytes) -> str | None:
    """How the name of an image that begins with these bytes should end; None if they are of no format known here.

    >>> right_suffix(b"GIF89a"), right_suffix(b"a text")
    ('.gif', None)
    """
    if begin[:4] == b"RIFF" and begin[8:12] == b"WEBP":
        return ".webp"
    return next((ending for first, ending in _BEGINS.items() if begin.startswith(first)), None)


def objection(name: str) -> str | None:
    """Why a file or folder of this name is passed over, or None.

    >>> objection("Thumbs.db"), objection(".1.png"), objection("1.png")
    ('left there by an operating system', 'hidden: its name begins with a dot', None)
    """
    if name.lower() in LITTER | _LITTER_FOLDERS or name == ".DS_Store" or name.startswith("._"):
        return LEFT_THERE
    if name.startswith("."):
        return HIDDEN
    if printable(name) != name:
        return UNPRINTABLE
    return None


# Letters that nobody sees, by which two names that look the same are two: soft hyphens, spaces without width, marks of
# the direction of writing. Those that join letters, as in Persian and in emoji, are not among them.
_UNSEEN = frozenset(map(chr, (0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A))))


def printable(name: str) -> str:
    """A name with its control characters, ends of lines, unseen letters and bytes that are no letters as escapes."""
    escaped = (letter in _UNSEEN or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)
    return "".join(
        letter.encode("unicode_escape").decode() if escape else letter
        for letter, escape in zip(name, escaped, strict=True)
    )


def suffix(name: str) -> str:
    """The suffix of a file's name in lower case, with its dot; empty if it has none."""
    return "." + name.rsplit(".", 1)[1].lower() if "." in name.lstrip(".") else ""
