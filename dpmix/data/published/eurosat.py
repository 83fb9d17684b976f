"""EuroSAT (Helber et al. 2019): satellite images in a folder for each class, without a split."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dpmix.data.archives import Archive, Listing, Source, by_class, class_folders


def _list_eurosat(fetched: Any, raw: Path) -> tuple[Iterable[str], Mapping[str, Listing]]:
    folders = class_folders(raw / "eurosat" / "2750")
    return [folder.name for folder in folders], {"train": by_class(folder.glob("*.jpg") for folder in folders)}


EUROSAT = Source(
    lambda datasets, raw: datasets.EuroSAT(raw, download=True),
    _list_eurosat,
    (Archive("eurosat/EuroSAT.zip", "c8fa014336c82ac7804f0398fcb19387", 94),),
    ("eurosat/2750",),
    "https://github.com/phelber/EuroSAT",
)
