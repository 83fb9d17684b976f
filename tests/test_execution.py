"""How work is executed follows from a scale's `bundle`, with changes laid over it."""

import pytest
import torch

from dpmix.execution import Execution, default_device
from dpmix.params.scales import Bundling


def test_it_is_what_the_bundle_says_and_changes_lie_over_that() -> None:
    bundle = Bundling(by="model", physical_batch=7, encoder_precision="float32", compile_encoder=True)
    said = Execution.of(bundle)
    assert (said.physical_batch, said.encoder_precision, said.compile_encoder) == (7, "float32", True)
    assert (said.backend, said.threads, said.device) == ("auto", None, None)
    changed = Execution.of(bundle, physical_batch=None, backend="reference", threads=2, checkpoint_seconds=0)
    assert (changed.physical_batch, changed.backend, changed.threads) == (7, "reference", 2)
    assert changed.checkpoint_seconds == 0


@pytest.mark.parametrize(("found", "device"), [(True, "cuda"), (False, "cpu")])
def test_the_device_is_the_first_gpu_unless_another_is_named(
    found: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert default_device() == Execution().where() == device
    assert Execution(device="cuda:1").where() == "cuda:1"
