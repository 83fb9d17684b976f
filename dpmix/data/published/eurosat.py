"""EuroSAT (Helber et al. 2019): satellite images in a folder for each class, without a split."""

from dpmix.data.archives import Archive, Source, by_class, class_folders

EUROSAT = Source(
    (
        Archive(
            "eurosat/EuroSAT.zip",
            "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
            "c8fa014336c82ac7804f0398fcb19387",
            94,
        ),
    ),
    ("eurosat/2750",),
    "https://github.com/phelber/EuroSAT",
    lambda raw, archives: by_class(class_folders(raw / "eurosat" / "2750"), "*.jpg"),
)
