"""`dpmix predict`: the classes of new images by a model's folder, as Python values or as a file."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dpmix.data.folders import files_at, part_of_files
from dpmix.data.tree import Skipped
from dpmix.errors import DataError, DpmixError, ParamsError, suggestion
from dpmix.files import atomic_file, write_text
from dpmix.own.choices.numbers import whole
from dpmix.own.model import model_folder
from dpmix.own.use.probabilities import probabilities
from dpmix.progress import progress

Format = Literal["csv", "json", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "json", "parquet")


class Prediction(NamedTuple):
    """What a model says of one image.

    Attributes:
        image: the path of its file.
        top: the most probable classes with their probabilities, the most probable first.
    """

    image: str
    top: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """Its probability."""
        return self.top[0][1]


class Unreadable(NamedTuple):
    """A file that could not be read as an image, and why, in one line that names it."""

    image: str
    why: str


class Predictions(NamedTuple):
    """All that `predict` found.

    Attributes:
        found: a prediction for each image, in order.
        unreadable: the image files that could not be read.
        skipped: what else lay in the folders, such as litter of operating systems and files that are no images.
    """

    found: list[Prediction]
    unreadable: list[Unreadable]
    skipped: list[Skipped]


def predict(
    model: str | Path,
    images: Iterable[str | Path] | str | Path,
    *,
    top_k: int = 1,
    batch_size: int = 64,
    device: str | None = None,
) -> Predictions:
    """Classify images by a model's folder.

    Args:
        model: the folder that `dpmix train` wrote.
        images: image files, tables that name some, and folders or zip archives of them at any depth.
        top_k: how many classes to name for each image; all of them if there are no more.
        batch_size: images at a time.
        device: where to compute; by default a GPU if there is one.

    Returns:
        What was found, and the files that cannot be read as images, which do not end the rest.

    Raises:
        DataError: if the model or a path is missing, or the model is damaged.
        ParamsError: for a `top_k` or `batch_size` below 1.
    """
    from dpmix.execution import usable_device

    top_k, batch_size = whole("top_k", top_k, such_as=3), whole("batch_size", batch_size, such_as=64)
    folder = model_folder.read(model)
    places = [images] if isinstance(images, str | Path) else list(images)
    files, skipped = files_at(map(Path, places))
    where = usable_device(device)
    classifier = folder.load(where)
    part = part_of_files([file for _, file in files], np.zeros(len(files)))
    told = probabilities(classifier, part, batch_size=batch_size, device=where)
    predictions = Predictions([], [], skipped)
    for (name, _), row in zip(files, progress(told, "classifying", "image", len(files)), strict=True):
        if isinstance(row, DataError):
            predictions.unreadable.append(Unreadable(name, str(row)))
            continue
        best = np.argsort(-row, kind="stable")[:top_k]
        top = tuple((classifier.classes[index], float(row[index])) for index in best)
        predictions.found.append(Prediction(name, top))
    return predictions


def format_of(path: Path | None, wanted: str | None) -> Format:
    """The format to write: as asked for, else by the file's suffix, else CSV.

    Raises:
        ParamsError: for a format that there is not.
    """
    name = wanted or (path.suffix.removeprefix(".").lower() if path else "") or "csv"
    for one in FORMATS:
        if name == one:
            return one
    of_path = f" of {path}" if path and not wanted else ""
    raise ParamsError(f"unknown format {name!r}{of_path}; {suggestion(name, FORMATS)}; say which by `format`")


def write(predictions: Sequence[Prediction], path: Path, kind: Format) -> None:
    """Write predictions, whole or not at all.

    CSV and Parquet have a row for each image: `image`, `label`, `probability`, and of further classes `label_2`,
    `probability_2` and so on. JSON has a list of `{"image", "top": [{"label", "probability"}]}`.

    Args:
        predictions: as `predict` found them.
        path: the file.
        kind: its format.

    Raises:
        DpmixError: if it cannot be written, or for Parquet if pyarrow is not installed.
    """
    if kind != "parquet":
        write_text(path, text(predictions, kind))
        return
    import pandas as pd

    header, rows = _table(predictions)
    with atomic_file(path) as temporary:
        try:
            pd.DataFrame(rows, columns=header).to_parquet(temporary, index=False)
        except ImportError as error:
            raise DpmixError("Parquet needs pyarrow; pip install pyarrow, or give `format='csv'`") from error


def text(predictions: Sequence[Prediction], kind: Literal["csv", "json"]) -> str:
    """Predictions as CSV or JSON, as `write` has them."""
    if kind == "json":
        listed = [
            {"image": one.image, "top": [{"label": label, "probability": value} for label, value in one.top]}
            for one in predictions
        ]
        return json.dumps(listed, indent=2, ensure_ascii=False) + "\n"
    written = io.StringIO()
    header, rows = _table(predictions)
    csv.writer(written, lineterminator="\n").writerows([header, *rows])
    return written.getvalue()


def _table(predictions: Sequence[Prediction]) -> tuple[list[str], list[list[Any]]]:
    most = max((len(one.top) for one in predictions), default=1)
    header = ["image", "label", "probability"]
    header += [f"{name}_{place}" for place in range(2, most + 1) for name in ("label", "probability")]
    return header, [[one.image, *(value for pair in one.top for value in pair)] for one in predictions]
