"""What every trainer shares: when an epoch ends, physical batches, and accuracy."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


def epoch_ends(steps: int, epochs: int) -> set[int]:
    """The steps (counted from one) after which an epoch ends: the last step of each of `epochs` equal parts."""
    return {(epoch + 1) * steps // epochs for epoch in range(epochs)} - {0}


def epoch_of(step: int, steps: int, epochs: int) -> int:
    """The epoch, counted from zero, that step `step` (counted from zero) belongs to."""
    return next(epoch for epoch in range(epochs) if step < (epoch + 1) * steps // epochs)


def physical_batches(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Consecutive parts of at most `size` of a logical batch; none for an empty one."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def percent_correct(predictions: Tensor, labels: np.ndarray) -> float:
    """Per cent of examples whose prediction, int64 [m], is their label, int64 [m]."""
    correct = int((predictions.cpu() == torch.from_numpy(np.ascontiguousarray(labels))).sum())
    return round(100 * correct / len(labels), 6)
