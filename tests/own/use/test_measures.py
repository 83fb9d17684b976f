"""Measures on hand-made probabilities, against scikit-learn and torchmetrics called here, and against counting."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from torchmetrics.functional.classification import multiclass_calibration_error

from dpmix.errors import DataError
from dpmix.own.use.measures import BINS, csv_of, measure

CLASSES = ("hen", "cock", "egg")


def made_up(count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are better than chance, of classes of unlike size."""
    random = np.random.default_rng(0)
    labels = random.choice(3, count, p=(0.6, 0.3, 0.1))
    scores = random.normal(size=(count, 3)) + 1.2 * np.eye(3)[labels]
    found = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return found.astype(np.float32), labels


def test_three_images_by_hand() -> None:
    found = np.array([[0.9, 0.1, 0.0], [0.3, 0.6, 0.1], [0.5, 0.2, 0.3], [0.2, 0.7, 0.1]], dtype=np.float32)
    values = measure(found, np.array([0, 1, 2, 0]), CLASSES)
    assert values["accuracy"] == 0.5
    assert values["confusion"] == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert [row["accuracy"] for row in values["per_class"]] == [0.5, 1, 0]
    assert [row["precision"] for row in values["per_class"]] == [0.5, 0.5, None]
    assert values["balanced_accuracy"] == pytest.approx(0.5)
    assert values["calibration"]["expected_error"] == pytest.approx((0.1 + 0.4 + 0.5 + 0.7) / 4)
    low, high = values["accuracy_interval"]
    # Wilson's interval by its formula.
    z, n = 1.959964, 4
    assert (low + high) / 2 == pytest.approx((0.5 + z**2 / (2 * n)) / (1 + z**2 / n), rel=1e-4)
    assert high - low == pytest.approx(2 * z / (1 + z**2 / n) * np.sqrt(0.25 / n + z**2 / (4 * n**2)), rel=1e-4)


def test_they_are_those_of_other_libraries() -> None:
    found, labels = made_up()
    values = measure(found, labels, CLASSES)
    guess = found.argmax(axis=1)
    assert values["accuracy"] == pytest.approx(accuracy_score(labels, guess))
    assert values["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, guess))
    assert values["macro_auc"] == pytest.approx(roc_auc_score(labels, found, multi_class="ovr"), abs=1e-6)
    error = multiclass_calibration_error(torch.from_numpy(found), torch.from_numpy(labels), 3, n_bins=BINS)
    assert values["calibration"]["expected_error"] == pytest.approx(float(error), abs=1e-5)
    assert sum(one["images"] for one in values["calibration"]["bins"]) == len(labels)
    assert sum(map(sum, values["confusion"])) == len(labels)


def test_permuted_classes_give_other_numbers() -> None:
    found, labels = made_up()
    right, wrong = measure(found, labels, CLASSES), measure(found[:, [1, 2, 0]], labels, CLASSES)
    assert right["accuracy"] > 0.6
    assert wrong["accuracy"] < 0.4
    assert wrong["macro_auc"] < 0.5 < right["macro_auc"]
    assert [row["images"] for row in right["per_class"]] == np.bincount(labels).tolist()


def test_classes_without_images_have_no_numbers() -> None:
    found, labels = made_up()
    there = labels < 2
    values = measure(found[there], labels[there], CLASSES)
    assert values["per_class"][2]["accuracy"] is None
    assert values["per_class"][2]["auc"] is None
    recalls = [row["accuracy"] for row in values["per_class"][:2]]
    assert values["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    one = measure(found[labels == 0], labels[labels == 0], CLASSES)
    assert one["macro_auc"] is None
    with pytest.raises(DataError, match="no image was classified"):
        measure(found[:0], labels[:0], CLASSES)


def test_two_classes() -> None:
    found, labels = np.array([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3]], dtype=np.float32), np.array([0, 1, 1])
    values = measure(found, labels, ("no", "yes"))
    assert values["macro_auc"] == pytest.approx(roc_auc_score(labels, found[:, 1]))


def test_tables() -> None:
    assert csv_of([{"class": "a, b", "auc": None}, {"class": "c", "auc": 0.5}]) == 'class,auc\n"a, b",\nc,0.5\n'
