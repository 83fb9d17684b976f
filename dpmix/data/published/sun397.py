"""SUN397 (Xiao et al. 2010): scenes, whose classes are folders below their initials, without a split."""

from collections.abc import Sequence
from pathlib import Path

from dpmix.data.archives import Archive, Found, Source, by_class, lines_of


def _list_sun(raw: Path, archives: Sequence[Archive]) -> Found:
    root = raw / "SUN397"
    # A line is a class's folder below its initial, such as /a/abbey or /a/apartment_building/outdoor.
    lines = [line.lstrip("/") for line in lines_of(root / "ClassName.txt")]
    return by_class({line.partition("/")[2]: root / line for line in lines}, "sun_*.jpg")


# The publisher's server has been answering 404 since 2025; `mirrors` of the params says where another copy is.
SUN_397 = Source(
    (
        Archive(
            "SUN397.tar.gz",
            "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
            "8ca2778205c41d23104230ba66911c7a",
            39100,
        ),
    ),
    ("SUN397",),
    "https://vision.princeton.edu/projects/2010/SUN/",
    _list_sun,
)
