"""What probabilities of classes are worth beside the true classes: numbers and tables, by scikit-learn."""

import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dpmix.errors import DataError

BINS = 15


def measure(found: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    """All numbers of an evaluation.

    Args:
        found: probabilities, float [m, classes], rows of sum 1.
        labels: the true classes, int64 [m].
        classes: their names.

    Returns:
        `images`; `accuracy` with `accuracy_interval` (Wilson, 95 %); `balanced_accuracy`, the mean recall of classes
        that have images; `macro_auc`, the mean of one-against-rest areas under the curve of classes that have images,
        None if fewer than two have; `per_class`, a row for each class; `confusion`, counts [true][predicted];
        `calibration` with `expected_error` (the mean of |accuracy - confidence| over equal bins of confidence, by how
        many images each has) and the `bins`. All shares are in [0, 1].

    Raises:
        DataError: for no image.
    """
    from scipy.stats import binomtest
    from sklearn.metrics import balanced_accuracy_score, confusion_matrix, precision_recall_fscore_support

    if not len(labels):
        raise DataError("no image was classified, so there is nothing to measure; give images with classes")
    numbers = list(range(len(classes)))
    guess = found.argmax(axis=1)
    right = guess == labels
    interval = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that are predicted and have no image
        balanced = float(balanced_accuracy_score(labels, guess))
    precision, recall, score, support = precision_recall_fscore_support(
        labels, guess, labels=numbers, zero_division=np.nan
    )
    areas = _areas(found, labels)
    return {
        "images": len(labels),
        "accuracy": float(right.mean()),
        "accuracy_interval": [float(interval.low), float(interval.high)],
        "balanced_accuracy": balanced,
        "macro_auc": float(np.mean(list(areas.values()))) if areas else None,
        "per_class": [
            {
                "class": classes[number],
                "images": int(support[number]),
                "accuracy": _or_none(recall[number]),
                "precision": _or_none(precision[number]),
                "f1": _or_none(score[number]),
                "auc": areas.get(number),
            }
            for number in numbers
        ],
        "confusion": confusion_matrix(labels, guess, labels=numbers).tolist(),
        "calibration": _calibration(found.max(axis=1), right),
    }


def _areas(found: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> dict[int, float]:
    """The area under the curve of each class against the rest, for classes that have images and are not all."""
    from sklearn.metrics import roc_auc_score

    there = [int(number) for number in np.unique(labels)]
    if len(there) < 2:
        return {}
    return {number: float(roc_auc_score(labels == number, found[:, number])) for number in there}


def _calibration(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> dict[str, Any]:
    edges = np.linspace(0, 1, BINS + 1)
    # A confidence on an edge belongs to the bin below it.
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
    bins, error = [], 0.0
    for number in range(BINS):
        inside = place == number
        count = int(inside.sum())
        accuracy = float(right[inside].mean()) if count else None
        mean = float(confidence[inside].mean()) if count else None
        bins.append(
            {
                "from": float(edges[number]),
                "to": float(edges[number + 1]),
                "images": count,
                "confidence": mean,
                "accuracy": accuracy,
            }
        )
        if accuracy is not None and mean is not None:
            error += count / len(right) * abs(accuracy - mean)
    return {"expected_error": error, "bins": bins}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as CSV; None is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
