"""How work is executed follows from a scale's `bundle`, with changes laid over it."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dpmix.build import build
from dpmix.errors import ParamsError
from dpmix.execution import Execution, default_device, keep_freed_memory, usable_device
from dpmix.params.scales import Bundling
from tests.needs import GLIBC, needs


def test_it_is_what_the_bundle_says_and_changes_lie_over_that() -> None:
    bundle = Bundling(
        by="model", physical_batch=7, encoder_precision="float32", compile_encoder=True, remembered=9, kept_gigabytes=2
    )
    said = Execution.of(bundle)
    assert (said.physical_batch, said.encoder_precision, said.compile_encoder) == (7, "float32", True)
    assert said.remembered == 9
    assert said.kept_bytes == 2e9
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


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta"])
def test_a_device_on_which_nothing_can_be_computed_is_one_line_before_anything_is_made(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = rf"nothing can be computed on device '{device}' here \(.*\); choose `device='cpu'`, or leave it out"
    for ask in (usable_device, lambda where: build(scale="demo", execution=Execution(device=where))):
        with pytest.raises(ParamsError, match=said):
            ask(device)
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_computes_is_taken() -> None:
    assert usable_device("cpu") == "cpu"
    assert usable_device() == default_device()


# 20 times 64 MiB, each written and freed: 16,384 pages a time for whom nothing is kept.
_FREED = """
import resource, sys
import torch
from dpmix.execution import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(10):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _pages(way: str) -> int:
    told = subprocess.run([sys.executable, "-c", _FREED, way], capture_output=True, text=True, check=True)
    return int(told.stdout)


@needs(GLIBC, platform.libc_ver()[0] == "glibc")
def test_freed_memory_is_kept_and_not_asked_for_again() -> None:
    assert _pages("kept") < _pages("as it is") / 10


def test_where_there_is_no_glibc_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
