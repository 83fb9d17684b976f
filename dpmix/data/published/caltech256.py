"""Caltech 256 (Griffin et al. 2007): a folder for each class, without a split."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dpmix.data.archives import Archive, Listing, Source, by_class, class_folders


def _list_caltech(fetched: Any, raw: Path) -> tuple[Iterable[str], Mapping[str, Listing]]:
    # Two class folders also hold a script and a nested folder; the images are the .jpg files directly in them.
    folders = class_folders(raw / "caltech256" / "256_ObjectCategories")
    return [folder.name for folder in folders], {"train": by_class(folder.glob("*.jpg") for folder in folders)}


CALTECH_256 = Source(
    lambda datasets, raw: datasets.Caltech256(raw, download=True),
    _list_caltech,
    (Archive("caltech256/256_ObjectCategories.tar", "67b4f42ca05d46448c6bb8ecd2220f6d", 1183),),
    ("caltech256/256_ObjectCategories",),
    "https://data.caltech.edu/records/nyy15-4j048",
)
