"""What tests of the adapters share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def untouched_global_generator() -> Iterator[None]:
    """Fails a test after which torch's global generator is in another state."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)
