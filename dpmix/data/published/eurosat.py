"""EuroSAT (Helber et al. 2019): satellite images in a folder for each class, without a split."""

from dpmix.data.archives import Archive, Source, by_class, class_folders

EUROSAT = Source(
    lambda datasets, raw: datasets.EuroSAT(raw, download=True),
    lambda fetched, raw: by_class(class_folders(raw / "eurosat" / "2750"), "*.jpg"),
    (Archive("eurosat/EuroSAT.zip", "c8fa014336c82ac7804f0398fcb19387", 94),),
    ("eurosat/2750",),
    "https://github.com/phelber/EuroSAT",
)
