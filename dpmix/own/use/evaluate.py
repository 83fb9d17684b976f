"""`dpmix evaluate`: how good a model's folder is on images whose classes are known.

The numbers read these images without noise, so whoever publishes them reveals something of the images; the ε of the
model does not cover it. They are therefore never written into the model's folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dpmix.errors import DataError, ParamsError, suggestion
from dpmix.files import atomic_directory, write_text
from dpmix.own.choices.numbers import whole
from dpmix.own.images.place import holder_of, name_of, root_of
from dpmix.own.model import model_folder
from dpmix.own.use import measures, pictures
from dpmix.own.use.predict import Unreadable
from dpmix.own.use.probabilities import probabilities
from dpmix.progress import progress
from dpmix.seals import write_record

if TYPE_CHECKING:
    from dpmix.data.listing import ListedImage, Listing

SPLITS = ("test", "train", "all")

READS = {
    "test": "These numbers read the test images without noise. The model's epsilon does not cover them: publish them "
    "only if the test images are public, or knowingly.",
    "train": "These numbers read the images that the model was trained on, without noise. The model's epsilon does not "
    "cover them, and they do not say how good the model is on new images. Do not publish them.",
    "all": "These numbers read all of these images without noise, also those that are in no test set. The model's "
    "epsilon does not cover them; if it was trained on some, they do not say how good it is on new images.",
}

# The files of an evaluation. A folder that holds nothing else is replaced.
_WRITTEN = {
    "metrics.json", "per-class.csv", "reliability.csv", "confusion.csv", "confusion.png", "reliability.png",
}  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        path: the folder that was written.
        measures: what its `metrics.json` says.
        unreadable: the images that could not be read and are not counted.
    """

    path: Path
    measures: dict[str, Any]
    unreadable: list[Unreadable]


def evaluate(
    model: str | Path,
    images: str | Path,
    *,
    output: str | Path | None = None,
    split: str = "test",
    batch_size: int = 64,
    device: str | None = None,
) -> Evaluation:
    """Measure a model's folder on images whose classes are known, and write what was found.

    `metrics.json`, `per-class.csv`, `confusion.csv`, `confusion.png`, `reliability.csv` and `reliability.png` are
    written; `dpmix.own.use.measures` says what they hold.

    Args:
        model: the folder that `dpmix train` wrote.
        images: a folder, zip archive or table of images, as `dpmix train` reads it.
        output: the folder to write; by default `<name of images>-evaluation` in the working directory.
        split: `test`, the images that training did not read; `train`; or `all`, for images that are in no set.
        batch_size: images at a time.
        device: where to compute; by default a GPU if there is one.

    Raises:
        DataError: for images that are missing, none of the split, or of classes that the model does not know.
        ParamsError: for another split, or an output in the model's folder or among the images.
    """
    from dpmix.data.folders import part_of_files
    from dpmix.execution import usable_device

    batch_size = whole("batch_size", batch_size, such_as=64)
    if split not in SPLITS:
        raise ParamsError(f"unknown split {split!r}; {suggestion(split, SPLITS)}")
    folder, images = model_folder.read(model), Path(images)
    out = Path(output) if output is not None else Path(f"{name_of(root_of(images))}-evaluation")
    if out.resolve().is_relative_to(folder.path.resolve()):
        raise ParamsError(f"{out} lies in the model's folder, which is handed out; name another: `output='FOLDER'`")
    if out.resolve().is_relative_to(holder_of(images)):
        raise ParamsError(f"{out} would lie among the images; name another folder: `output='FOLDER'`")
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= _WRITTEN):
        raise DataError(
            f"{out} has other things than an evaluation and is not replaced; name another: `output='FOLDER'`"
        )
    listing = _listing(images, folder)
    wanted = _images(listing, split, images)
    where = usable_device(device)
    classifier = folder.load(where)
    labels = _labels(listing, wanted, classifier.classes, images)
    part = part_of_files([listing.files[image.place] for image in wanted], labels)
    told = probabilities(classifier, part, batch_size=batch_size, device=where)
    found = list(progress(told, "classifying", "image", len(wanted)))
    unreadable = [
        Unreadable(image.place, str(row))
        for image, row in zip(wanted, found, strict=True)
        if isinstance(row, DataError)
    ]
    rows = [row for row in found if not isinstance(row, DataError)]
    if not rows:
        raise DataError(f"none of the {split} images of {images} can be read; replace them")
    read = np.array([not isinstance(row, DataError) for row in found])
    values = {
        "split": split,
        "reads": READS[split],
        "unreadable": len(unreadable),
        **measures.measure(np.stack(rows), labels[read], classifier.classes),
    }
    _write(out, values, classifier.classes)
    return Evaluation(out, values, unreadable)


def _listing(images: Path, folder: model_folder.ModelFolder) -> "Listing":
    """The images, split as they were for training, if the model's config says how that was."""
    from dpmix.data.listing import read_listing

    drawn = folder.config.get("split") or {}
    return read_listing(images, **{name: drawn[name] for name in ("test_share", "key", "persons") if name in drawn})


def _images(listing: "Listing", split: str, images: Path) -> "tuple[ListedImage, ...]":
    wanted = listing.images if split == "all" else listing.of(split)
    if not wanted:
        raise DataError(
            f"{images} has no {split} image; give a folder that has, or measure on all of its images: `split='all'`"
        )
    return wanted


def _labels(
    listing: "Listing", wanted: "Sequence[ListedImage]", classes: Sequence[str], images: Path
) -> npt.NDArray[np.int64]:
    """The images' classes as the model numbers them, int64 [m]."""
    place = {name: number for number, name in enumerate(classes)}
    names = [listing.classes[image.label] for image in wanted]
    if strange := [name for name in names if name not in place]:
        raise DataError(f"{images}: the model knows no class {strange[0]}; {suggestion(strange[0], classes)}")
    return np.array([place[name] for name in names], dtype=np.int64)


def _write(out: Path, values: dict[str, Any], classes: Sequence[str]) -> None:
    with atomic_directory(out) as temporary:
        write_record(temporary / "metrics.json", values)
        write_text(temporary / "per-class.csv", measures.csv_of(values["per_class"]))
        write_text(temporary / "reliability.csv", measures.csv_of(values["calibration"]["bins"]))
        rows = [
            {"true \\ predicted": name, **dict(zip(classes, row, strict=True))}
            for name, row in zip(classes, values["confusion"], strict=True)
        ]
        write_text(temporary / "confusion.csv", measures.csv_of(rows))
        pictures.save(pictures.confusion(np.array(values["confusion"]), classes), temporary / "confusion.png")
        pictures.save(pictures.reliability(values["calibration"]), temporary / "reliability.png")
