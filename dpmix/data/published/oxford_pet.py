"""Oxford-IIIT Pet (Parkhi et al. 2012): images whose labels and split are in text files."""

from collections.abc import Sequence
from pathlib import Path

from dpmix.data.archives import Archive, Found, Source, lines_of
from dpmix.data.decoding import part_of_paths
from dpmix.errors import DataError


def _list_pet(raw: Path, archives: Sequence[Archive]) -> Found:
    root = raw / "oxford-iiit-pet"
    parts, names = {}, {}
    for split, file in (("train", "trainval.txt"), ("test", "test.txt")):
        path = root / "annotations" / file
        try:
            # A line is an image's name, its class from 1, its species and its number within that.
            rows = [(words[0], int(words[1]) - 1) for words in map(str.split, lines_of(path))]
        except (IndexError, ValueError) as error:
            raise DataError(f"{path} is damaged ({error}); delete {path.parent} and run again") from error
        names.update({label: name.rpartition("_")[0] for name, label in rows})
        images = [root / "images" / f"{name}.jpg" for name, _ in rows]
        parts[split] = part_of_paths(images, [label for _, label in rows])
    return [names[label] for label in sorted(names)], parts


_DATA = "https://www.robots.ox.ac.uk/~vgg/data/pets/data"

OXFORD_PET = Source(
    (
        Archive("oxford-iiit-pet/images.tar.gz", f"{_DATA}/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c", 792),
        Archive(
            "oxford-iiit-pet/annotations.tar.gz", f"{_DATA}/annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f", 19
        ),
    ),
    ("oxford-iiit-pet/images", "oxford-iiit-pet/annotations"),
    "https://www.robots.ox.ac.uk/~vgg/data/pets/",
    _list_pet,
)
