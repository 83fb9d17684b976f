"""What a result was made with."""

import os
import platform

import pytest
import torch

import dpmix
from dpmix.provenance import hardware, versions


def test_versions_are_those_that_run_here() -> None:
    found = versions()
    assert found == {"dpmix": dpmix.__version__, "torch": found["torch"], "python": platform.python_version()}
    # Without what says how it was built, such as +cpu.
    assert torch.__version__.startswith(found["torch"])
    assert "+" not in found["torch"]


def test_hardware_is_the_gpu_or_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model, _, cores = hardware().rpartition(", ")
    assert model
    assert cores == f"{os.cpu_count()} cores"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    assert hardware() == "A GPU"
