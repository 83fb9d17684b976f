"""The loss of one example, and targets that are none."""

import pytest
import torch
from torch import nn

from dpmix.privacy.clipping import (
    clipped_sum,
)
from dpmix.privacy.loss import ExampleLoss, soft_cross_entropy
from tests.privacy.architectures import flat, parameters
from tests.privacy.test_clipping import close, data, every_backend, small


def test_soft_cross_entropy():
    logits, targets = torch.randn(5, 4), torch.softmax(torch.randn(5, 4), dim=1)
    assert close(soft_cross_entropy(logits, targets), nn.functional.cross_entropy(logits, targets))


@every_backend
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 4)])
def test_targets_that_are_no_soft_labels_of_the_logits_are_refused(backend, shape):
    """Integer labels [n, K] of K = 3 views and 3 classes would be broadcast to another loss."""
    module, labels = small(), torch.tensor([[0, 1, 2], [2, 1, 1]])
    views, params = data(2, 3)[0], parameters(module)
    given_ = labels if shape == (2, 3) else torch.ones(shape)
    with pytest.raises(ValueError, match=r"one-hot them: torch\.nn\.functional\.one_hot\(labels, 3\)\.float\(\)"):
        clipped_sum(ExampleLoss(module), params, views, given_, 1e3, backend=backend)
    mended = torch.nn.functional.one_hot(labels, 3).float()
    found = clipped_sum(ExampleLoss(module), params, views, mended, 1e3, backend=backend)
    # The same loss by torch's own function of integer labels.
    loss = sum(nn.functional.cross_entropy(module(x), y) for x, y in zip(views, labels, strict=True))
    expected = torch.autograd.grad(loss, list(module.parameters()))
    assert close(flat(found.total), torch.cat([one.flatten() for one in expected]))
