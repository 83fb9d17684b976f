"""Caltech 256 (Griffin et al. 2007): a folder for each class, without a split."""

from dpmix.data.archives import Archive, Source, by_class, class_folders

CALTECH_256 = Source(
    (
        Archive(
            "caltech256/256_ObjectCategories.tar",
            "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
            "67b4f42ca05d46448c6bb8ecd2220f6d",
            1183,
        ),
    ),
    ("caltech256/256_ObjectCategories",),
    "https://data.caltech.edu/records/nyy15-4j048",
    # Two class folders also hold a script and a nested folder; the images are the .jpg files directly in them.
    lambda raw, archives: by_class(class_folders(raw / "caltech256" / "256_ObjectCategories"), "*.jpg"),
)
