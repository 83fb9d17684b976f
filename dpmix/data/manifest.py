"""Manifests: a listing as a CSV file, from which an image store is made (`source: listed`).

    # {"classes": […], "content": false, "fingerprint": "…", "root": "…", "split": "…"}
    file_name,label,split[,person]

The fingerprint is of the names, sizes and times of change of all images (in archives: of their checksums), or of their
contents, so that a folder that changed between listing and decoding is noticed.
"""

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from dpmix.data import origin
from dpmix.data.decoding import Pool
from dpmix.data.folders import pool_of
from dpmix.data.images import SPLITS
from dpmix.data.listing import ListedImage, Listing
from dpmix.data.zips import File
from dpmix.errors import DataError, one_line
from dpmix.files import write_text


def fingerprint(listing: Listing, content: bool = False) -> str:
    """The SHA-256 of what identifies the images of a listing and what is said of them.

    Args:
        listing: the images.
        content: whether to read all files, instead of their sizes and times of change.

    Raises:
        DataError: if a file is gone.
    """
    seen = hashlib.sha256()
    for image in listing.images:
        said = (image.place, listing.classes[image.label], image.split, image.person)
        seen.update(json.dumps([*said, _stamp(listing.files[image.place], content)]).encode())
    return seen.hexdigest()


def _stamp(file: File, content: bool) -> list[str] | list[int]:
    if content:
        return [hashlib.sha256(file.read()).hexdigest()]
    if file.member is not None:
        return [file.member.file_size, file.member.CRC]
    return origin.stamp(file.path, "put it back, or begin anew")


def write_manifest(listing: Listing, path: Path, *, content: bool = False) -> str:
    """Write the manifest of a listing, whole or not at all, and return its fingerprint.

    Args:
        listing: the images.
        path: the CSV to write.
        content: whether the fingerprint is of the files' contents.
    """
    head = {
        "root": str(listing.root.resolve()),
        "classes": listing.classes,
        "split": listing.split,
        "fingerprint": fingerprint(listing, content),
        "content": content,
    }
    persons = any(image.person is not None for image in listing.images)
    text = io.StringIO()
    text.write(f"# {json.dumps(head, sort_keys=True)}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file_name", "label", "split", *(["person"] if persons else [])])
    for image in listing.images:
        person = [image.person or ""] if persons else []
        writer.writerow([image.place, listing.classes[image.label], image.split, *person])
    write_text(path, text.getvalue())
    return str(head["fingerprint"])


def read_manifest(path: Path) -> Listing:
    """The listing of a manifest; what was skipped is not in it.

    Raises:
        DataError: if it is missing or damaged.
    """
    return _read(Path(path))[1]


def _read(path: Path) -> tuple[dict[str, Any], Listing]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head = json.loads(file.readline().removeprefix("#"))
            classes = tuple(map(str, head["classes"]))
            numbers = {name: number for number, name in enumerate(classes)}
            images = tuple(
                ListedImage(row["file_name"], numbers[row["label"]], row["split"], row.get("person") or None)
                for row in csv.DictReader(file)
            )
            listing = Listing(Path(head["root"]), images, classes, split=str(head["split"]))
            if not images or {image.split for image in images} - set(SPLITS):
                raise ValueError("images of no split")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); list the images again") from error
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise DataError(f"{path} is no manifest ({one_line(error, 200)}); list the images again") from error
    return head, listing


def pool_of_manifest(path: Path) -> Pool:
    """The images of a manifest before decoding.

    Raises:
        DataError: if it is missing or damaged, or the images are no longer those that were listed.
    """
    path = Path(path)
    head, listing = _read(path)
    found = fingerprint(listing, bool(head.get("content")))
    if found != head.get("fingerprint"):
        raise DataError(
            f"the images in {listing.root} have changed since {path.name} listed them; delete {path.absolute().parent} "
            "and begin anew"
        )
    source = {"source": "listed", "split": listing.split, "fingerprint": found}
    return pool_of(listing, source, "list the images again")
