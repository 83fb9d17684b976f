"""Which backend `auto` stands for, the reason that is given, and what falls back on a slower one."""

import gc
import logging
import weakref

import pytest
import torch
from torch import Tensor, nn

from dpmix.errors import ParamsError
from dpmix.privacy import backend_choice
from dpmix.privacy.backend_choice import choose_backend, explain_backend, multiply_adds
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.loss import ExampleLoss
from tests.privacy.architectures import flat, naive_clipped_sum, parameters
from tests.privacy.test_clipping import close, data, small


def test_a_frozen_batch_norm_falls_back(caplog):
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4).eval(), nn.Flatten(), nn.Linear(16, 3))
    views, targets = data(3, 2)
    with caplog.at_level(logging.WARNING):
        assert choose_backend(module, views) == "sequential"
        result = clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.5)
        expected = clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.5, backend="reference")
    assert close(flat(result.total), flat(expected.total))
    assert [record.getMessage() for record in caplog.records] == [
        "clipping falls back to sequential: no per-example rule covers 1 of Sequential"
    ]
    caplog.clear()
    with caplog.at_level(logging.WARNING):  # another module is another line
        choose_backend(nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten()), torch.rand(2, 2, 1, 8))
    assert ["no per-example rule covers 0" in record.getMessage() for record in caplog.records] == [True]


def test_the_choice_is_explained(monkeypatch):
    module, views = small(), data(2, 3)[0]
    assert explain_backend(module, views, "reference") == "reference: asked for"
    assert explain_backend(module, views[:0]).startswith("vectorized: an example has only 2.3e+03 multiply-adds")
    monkeypatch.setattr(backend_choice, "_SEQUENTIAL_PAYS", 1)
    assert (
        explain_backend(module, views)
        == "sequential: an example of 2.3e+03 multiply-adds is batch enough for a processor"
    )
    odd = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten())
    views = torch.rand(2, 2, 1, 8)
    assert explain_backend(odd, views) == "sequential: no per-example rule covers 0 of Sequential"
    # Without a GPU, a device that computes nothing has to stand for one.
    assert explain_backend(odd.to("meta"), views.to("meta")) == "reference: no per-example rule covers 0 of Sequential"
    module, views = small().to("meta"), data(2, 3)[0].to("meta")
    assert explain_backend(module, views).startswith("vectorized: every layer has a per-example rule, and meta")
    with pytest.raises(ValueError, match="unknown backend 'fast'"):
        explain_backend(module, views, "fast")


class Positions(nn.Module):
    """Adds a learned vector for each position, looked up once for the whole batch."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.positions, self.head = nn.Embedding(length, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(x + self.positions(torch.arange(x.shape[1])))).mean(dim=1)


@pytest.mark.parametrize("length", [6, 5])
def test_a_layer_without_a_batch_falls_back(length):
    # With 6 positions and n K = 6 images, its input looks like a batch and is none.
    module = Positions(length)
    views, targets = torch.rand(3, 2, length, 3), torch.softmax(torch.randn(3, 2, 2), dim=2)
    assert choose_backend(module, views) == "sequential"
    for backend in ("auto", "reference"):
        result = clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.1, backend=backend)
        expected, _ = naive_clipped_sum(module, parameters(module), views, targets, 0.1)
        assert close(flat(result.total), flat(expected), 1e-4)
    with pytest.raises(ParamsError, match=r"^no per-example rule for positions; set the backend to auto or reference$"):
        clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.1, backend="vectorized")


def test_the_choice_of_a_backend(monkeypatch):
    module, views = small(), data(2, 3)[0]
    assert choose_backend(module, views) == "vectorized"
    # 16 pixels of 4 x 9 weights, and 64 x 3: multiply-adds of one image.
    assert multiply_adds(module, views[0, :1]) == 16 * 36 + 192
    monkeypatch.setattr(backend_choice, "_SEQUENTIAL_PAYS", 3 * (16 * 36 + 192) - 1)
    assert choose_backend(module, views) == "sequential"


def test_nothing_is_remembered_of_a_module_that_is_gone():
    module = small()
    choose_backend(module, data(1, 1)[0])
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None
