"""Accuracy is over examples."""

import numpy as np
import torch

from dpmix.training.accuracy import percent_correct


def test_accuracy_is_over_examples() -> None:
    assert percent_correct(torch.tensor([0, 1, 2]), np.array([0, 1, 1])) == 66.666667
