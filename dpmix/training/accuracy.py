"""Classification accuracy, in per cent."""

import numpy as np
import torch
from torch import Tensor


def percent_correct(predictions: Tensor, labels: np.ndarray) -> float:
    """Per cent of examples whose prediction, int64 [m], is their label, int64 [m]."""
    return per_cent(count_correct(predictions, labels), len(labels))


def count_correct(predictions: Tensor, labels: np.ndarray) -> int:
    """How many predictions, int64 [m], are the labels, int64 [m]."""
    return int((predictions.cpu() == torch.from_numpy(np.ascontiguousarray(labels))).sum())


def per_cent(correct: int, of: int) -> float:
    """100 × correct / of, to six digits after the point."""
    return round(100 * correct / of, 6)
