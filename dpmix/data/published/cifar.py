"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32 x 32 pixels in pickled files, with a split of their own."""

import hashlib
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dpmix.data.archives import Archive, Found, Source
from dpmix.data.decoding import part_of_pixels
from dpmix.errors import DataError, one_line


def _list_cifar(kind: str) -> Callable[[Path, Sequence[Archive]], Found]:
    """The lister of `torchvision.datasets.<kind>`, which compares each pickled file with its MD5 sum and opens it."""

    def listed(raw: Path, archives: Sequence[Archive]) -> Found:
        from torchvision import datasets

        (archive,) = archives
        reader = getattr(datasets, kind)
        if archive.md5 != reader.tgz_md5:
            reader = _reader_of(reader, raw / archive.path)
        try:
            read = {split: reader(raw, train=split == "train") for split in ("train", "test")}
        except Exception as error:  # whatever a damaged pickle raises
            folder = raw / reader.base_folder
            raise DataError(
                f"{folder} is incomplete or damaged ({one_line(error, 100)}); delete it and run again"
            ) from error
        parts = {split: part_of_pixels(images.data, images.targets) for split, images in read.items()}
        return read["train"].classes, parts

    return listed


def _reader_of(published: Any, file: Path) -> Any:
    """A reader of another archive in the format of CIFAR: a class of torchvision's with the checksums of its files."""
    if not file.is_file():
        raise DataError(
            f"{file} is gone, without which no pickled file can be trusted; delete {file.parent} and run again"
        )
    with tarfile.open(file) as archive:
        members = {Path(one.name).name: archive.extractfile(one) for one in archive if one.isfile()}
        sums = {
            name: hashlib.md5(content.read(), usedforsecurity=False).hexdigest()
            for name, content in members.items()
            if content
        }
    lists = {
        which: [[name, sums.get(name, "")] for name, _ in getattr(published, which)]
        for which in ("train_list", "test_list")
    }
    meta = {**published.meta, "md5": sums.get(published.meta["filename"], "")}
    return type(published.__name__, (published,), {**lists, "meta": meta})


CIFAR_10 = Source(
    (
        Archive(
            "cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "c58f30108f718f92721af3b95e74349a",
            170,
        ),
    ),
    ("cifar-10-batches-py",),
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    _list_cifar("CIFAR10"),
)

CIFAR_100 = Source(
    (
        Archive(
            "cifar-100-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "eb9058c3a382ffc7106e4002c42a8d85",
            169,
        ),
    ),
    ("cifar-100-python",),
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    _list_cifar("CIFAR100"),
)
