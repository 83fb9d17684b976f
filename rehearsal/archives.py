"""The paper's data sets in the formats of their archives, with a few drawn images in each.

Everything that a reader of the real archives meets is there: members' names, pickles as Python 2 wrote them, CIFAR's
split into batches, the script and the nested folder in Caltech256's classes, SUN397's lists and two-level classes,
Oxford Pet's annotations with comments, and images that are not RGB.
"""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

CIFAR_10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

EUROSAT_CLASSES = ("AnnualCrop", "HerbaceousVegetation", "SeaLake")

CALTECH_CLASSES = ("056.dog", "198.spider", "253.faces-easy-101")

SUN_CLASSES = ("/a/abbey", "/a/apartment_building/outdoor", "/z/zoo")

PET_BREEDS = ("Abyssinian", "american_bulldog")


class Made(NamedTuple):
    """A data set's archives.

    Attributes:
        files: their content by file name.
        classes: how many classes there are.
        train: how many training images; of a data set without a split, all but `test`.
        test: how many test images.
    """

    files: dict[str, bytes]
    classes: int
    train: int
    test: int

    def checksums(self) -> dict[str, str]:
        """The MD5 sums of the files."""
        return {name: hashlib.md5(content).hexdigest() for name, content in self.files.items()}

    def write(self, folder: Path) -> dict[str, Path]:
        """Write the archives into a folder; their paths by file name."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return {name: folder / name for name in self.files}


def _pixels(label: int, number: int, height: int, width: int) -> np.ndarray:
    """A smooth picture uint8 [height, width, 3] whose colours are its class's, but for a little of its own."""
    draws = np.random.default_rng([label, 7])
    own = np.random.default_rng([label, number])
    colour = draws.integers(40, 215, 3)
    slope = np.linspace(-30, 30, width)[None, :, None] * draws.choice([-1, 1])
    noise = own.normal(0, 8, (height, width, 3))
    return np.clip(colour + slope + noise, 0, 255).astype(np.uint8)


def _picture(label: int, number: int, size: tuple[int, int], mode: str = "RGB", kind: str = "JPEG") -> bytes:
    image = Image.fromarray(_pixels(label, number, size[1], size[0])).convert(mode)
    with io.BytesIO() as buffer:
        image.save(buffer, format=kind)
        return buffer.getvalue()


def _tar(members: Iterable[tuple[str, bytes | None]], *, compressed: bool) -> bytes:
    """A tar archive of files, and of folders where the content is None."""
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, content in members:
                entry = tarfile.TarInfo(name)
                entry.mtime = 1_250_000_000
                if content is None:
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(entry)
                else:
                    entry.size, entry.mode = len(content), 0o644
                    archive.addfile(entry, io.BytesIO(content))
        plain = buffer.getvalue()
    return gzip.compress(plain, mtime=0) if compressed else plain


# CIFAR ----------------------------------------------------------------------------------------------------------------


class _Python2Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes bytes as the texts of Python 2 that CIFAR's files hold, names of keys and pixels alike."""

    dispatch = pickle._Pickler.dispatch.copy()  # type: ignore[attr-defined]

    def _save_text(self, text: bytes) -> None:
        if len(text) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(text)]) + text)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(text)) + text)
        self.memoize(text)

    dispatch[bytes] = _save_text


def _pickled(entry: dict[bytes, object]) -> bytes:
    with io.BytesIO() as buffer:
        _Python2Pickler(buffer, protocol=2).dump(entry)
        # Where numpy kept the function that makes an array, in 2009.
        return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def _rows(labels: np.ndarray, first: int) -> np.ndarray:
    """Pictures uint8 [n, 3072] in CIFAR's order: all red values, row by row, then green, then blue."""
    pictures = [_pixels(int(label), first + number, 32, 32) for number, label in enumerate(labels)]
    return np.stack(pictures).transpose(0, 3, 1, 2).reshape(len(labels), -1)


def cifar_10(train: int = 5, test: int = 3) -> Made:
    """Five batches, a test batch and the names of the classes, pickled with keys of Python 2."""
    root = "cifar-10-batches-py"

    def batch(count: int, first: int, name: str) -> bytes:
        labels = np.arange(first, first + count) % 10
        names = [f"{CIFAR_10_CLASSES[label]}_s_{first + number:06d}.png" for number, label in enumerate(labels)]
        entry = {
            b"batch_label": name.encode(),
            b"labels": [int(label) for label in labels],
            b"data": _rows(labels, first),
            b"filenames": [one.encode() for one in names],
        }
        return _pickled(entry)

    each = train // 5
    members: list[tuple[str, bytes | None]] = [(root, None)]
    meta = {b"num_cases_per_batch": each, b"label_names": [one.encode() for one in CIFAR_10_CLASSES], b"num_vis": 3072}
    members.append((f"{root}/batches.meta", _pickled(meta)))
    for number in range(5):
        name = f"training batch {number + 1} of 5"
        members.append((f"{root}/data_batch_{number + 1}", batch(each, number * each, name)))
    members.append((f"{root}/test_batch", batch(test, 5 * each, "testing batch 1 of 1")))
    members.append((f"{root}/readme.html", b'<meta HTTP-EQUIV="REFRESH" content="0; url=kriz/cifar.html">\n'))
    return Made({"cifar-10-python.tar.gz": _tar(members, compressed=True)}, 10, 5 * each, test)


def cifar_100(train: int = 6, test: int = 3) -> Made:
    """One training and one test file, with fine and coarse labels, and the names of both."""
    root = "cifar-100-python"
    fine = [f"fine_class_{number:02d}" for number in range(100)]

    def part(count: int, first: int, name: str) -> bytes:
        labels = np.arange(first, first + count) * 37 % 100
        entry = {
            b"filenames": [f"{fine[label]}_s_{first + n:06d}.png".encode() for n, label in enumerate(labels)],
            b"batch_label": name.encode(),
            b"fine_labels": [int(one) for one in labels],
            b"coarse_labels": [int(one) // 5 for one in labels],
            b"data": _rows(labels, first),
        }
        return _pickled(entry)

    coarse = [f"coarse_class_{number:02d}".encode() for number in range(20)]
    meta = {b"fine_label_names": [one.encode() for one in fine], b"coarse_label_names": coarse}
    members = [
        (root, None),
        (f"{root}/file.txt~", b""),
        (f"{root}/train", part(train, 0, "training batch 1 of 1")),
        (f"{root}/test", part(test, train, "testing batch 1 of 1")),
        (f"{root}/meta", _pickled(meta)),
    ]
    return Made({"cifar-100-python.tar.gz": _tar(members, compressed=True)}, 100, train, test)


# Archives of image files ----------------------------------------------------------------------------------------------


def eurosat(each: int = 3, test: int = 3) -> Made:
    """A zip archive of 64-pixel JPEG files in a folder for each class below `2750`."""
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo("2750/", (2018, 1, 1, 0, 0, 0)), b"")
            for label, name in enumerate(EUROSAT_CLASSES):
                archive.writestr(zipfile.ZipInfo(f"2750/{name}/", (2018, 1, 1, 0, 0, 0)), b"")
                for number in range(1, each + 1):
                    place = zipfile.ZipInfo(f"2750/{name}/{name}_{number}.jpg", (2018, 1, 1, 0, 0, 0))
                    archive.writestr(place, _picture(label, number, (64, 64)))
        content = buffer.getvalue()
    return Made({"EuroSAT.zip": content}, len(EUROSAT_CLASSES), each * len(EUROSAT_CLASSES) - test, test)


def caltech256(each: int = 3, test: int = 3) -> Made:
    """A tar archive, with a grey image, a stray script and a nested folder as the real one has them."""
    root = "256_ObjectCategories"
    members: list[tuple[str, bytes | None]] = [(root, None)]
    for label, name in enumerate(CALTECH_CLASSES):
        members.append((f"{root}/{name}", None))
        for number in range(1, each + 1):
            mode = "L" if number == each else "RGB"
            picture = _picture(label, number, (120 + 10 * number, 90), mode)
            members.append((f"{root}/{name}/{name[:3]}_{number:04d}.jpg", picture))
    members.append((f"{root}/198.spider/RENAME2", b"#!/bin/sh\n"))
    members += [(f"{root}/056.dog/greg", None), (f"{root}/056.dog/greg/vision309", None)]
    members.append((f"{root}/056.dog/greg/vision309/056_0001.jpg", _picture(0, 99, (80, 80))))
    return Made(
        {f"{root}.tar": _tar(members, compressed=False)}, len(CALTECH_CLASSES), each * len(CALTECH_CLASSES) - test, test
    )


def sun397(each: int = 3, test: int = 3) -> Made:
    """A tar.gz archive with the list of classes, below their initials; some files are PNG or GIF inside, and CMYK."""
    root = "SUN397"
    members: list[tuple[str, bytes | None]] = [(root, None)]
    kinds = [("RGB", "JPEG"), ("CMYK", "JPEG"), ("P", "GIF"), ("RGBA", "PNG")]
    for label, line in enumerate(SUN_CLASSES):
        for number in range(each):
            name = f"sun_a{hashlib.md5(f'{line}{number}'.encode()).hexdigest()[:15]}.jpg"
            members.append((f"{root}{line}/{name}", _picture(label, number, (200, 240), *kinds[number % 4])))
    members.append((f"{root}/ClassName.txt", "".join(f"{line}\n" for line in SUN_CLASSES).encode()))
    members.append((f"{root}/README.txt", b"SUN397 for Scene Classification Benchmark\n"))
    return Made(
        {f"{root}.tar.gz": _tar(members, compressed=True)}, len(SUN_CLASSES), each * len(SUN_CLASSES) - test, test
    )


def oxford_pet(train_each: int = 3, test_each: int = 1) -> Made:
    """Images with two stray MATLAB files, and annotations: lists, trimaps, and what a Macintosh leaves behind."""
    images: list[tuple[str, bytes | None]] = [("images", None)]
    notes: list[tuple[str, bytes | None]] = [("annotations", None), ("annotations/trimaps", None)]
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for label, breed in enumerate(PET_BREEDS):
        for number in range(1, train_each + test_each + 1):
            name = f"{breed}_{number}"
            # The breeds of cats are written with a capital, of dogs without.
            species = 1 if breed[0].isupper() else 2
            mode, kind = ("P", "GIF") if (label, number) == (0, 1) else ("RGB", "JPEG")
            images.append((f"images/{name}.jpg", _picture(label, number, (150, 130), mode, kind)))
            notes.append((f"annotations/trimaps/{name}.png", _picture(label, number, (15, 13), "L", "PNG")))
            notes.append((f"annotations/trimaps/._{name}.png", b"Mac OS X"))
            lists["trainval" if number <= train_each else "test"].append(f"{name} {label + 1} {species} {label + 1}\n")
    images += [("images/Abyssinian_100.mat", b"MATLAB 5.0 MAT-file"), ("images/Abyssinian_101.mat", b"MATLAB 5.0")]
    header = "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\n#SPECIES: 1:Cat 2:Dog\n"
    everything = header + "".join(line for part in lists.values() for line in part)
    notes += [("annotations/list.txt", everything.encode()), ("annotations/README", b"The Oxford-IIIT Pet Dataset\n")]
    notes += [(f"annotations/{part}.txt", "".join(lines).encode()) for part, lines in lists.items()]
    files = {"images.tar.gz": _tar(images, compressed=True), "annotations.tar.gz": _tar(notes, compressed=True)}
    return Made(files, len(PET_BREEDS), len(lists["trainval"]), len(lists["test"]))


# By the names of `dpmix.params.registries.DATA_SETS`.
DATA_SETS: dict[str, Callable[[], Made]] = {
    "cifar-10": cifar_10,
    "cifar-100": cifar_100,
    "eurosat": eurosat,
    "caltech256": caltech256,
    "sun397": sun397,
    "oxford-pet": oxford_pet,
}
