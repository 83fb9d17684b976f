"""The bounds of `tolerances.py` hold for sums in any order, and the switches of `make test-portable` switch."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dpmix.privacy.linear_heads import append_one, head_clipped_sum
from tests.conftest import NUMERIC
from tests.needs import X86, needs
from tests.tolerances import UNIT, gamma, head_rounding

SHOWS = """
import numpy, torch
print("torch", torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON), \
        torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
    torch.rand(64, 64) @ torch.rand(64, 64)
    torch.nn.Conv2d(8, 8, 3)(torch.rand(2, 8, 16, 16))
"""


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("n", [2, 30, 1000, 30_000])
def test_sums_in_any_order_stay_within_the_bound(n: int, signs: bool) -> None:
    random = np.random.default_rng(n)
    worst = 0.0
    for _ in range(20):
        terms = random.uniform(0 if not signs else -1, 1, n).astype(np.float32)
        exact = float(terms.astype(np.float64).sum())
        one_by_one = np.float32(0)
        for term in terms:
            one_by_one = np.float32(one_by_one + term)
        blocks = terms[: n // 2 * 2].reshape(2, -1).sum(axis=1, dtype=np.float32).sum() + terms[n // 2 * 2 :].sum()
        bound = gamma(n) * float(np.linalg.norm(terms.astype(np.float64)))
        for found in (one_by_one, blocks, torch.from_numpy(terms).sum()):
            worst = max(worst, abs(float(found) - exact) / bound)
    assert 0 < worst <= 1


def test_gamma_is_the_error_of_roundings_one_after_the_other() -> None:
    assert torch.finfo(torch.float32).eps / 2 == UNIT
    product = np.prod([1 + UNIT] * 1000)
    assert product - 1 <= gamma(1000) <= 1000 * UNIT * (1 + 1e-4)


@pytest.mark.parametrize(("n", "k", "d", "classes"), [(1, 1, 1, 2), (9, 7, 200, 11), (5, 3, 20, 4)])
def test_heads_stay_within_their_bound_and_a_coarser_precision_does_not(n: int, k: int, d: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features = append_one(torch.randn(n, k, d, generator=generator))
    targets = torch.softmax(4 * torch.randn(n, k, classes, generator=generator), dim=-1)
    weights = torch.randn(6, classes, d + 1, generator=generator) / d**0.5
    clip_norms = torch.logspace(-1, 2, 6)
    bound = head_rounding(features, targets, weights, clip_norms)
    exact = head_clipped_sum(*(value.double() for value in (features, targets, weights, clip_norms)))
    found = head_clipped_sum(features, targets, weights, clip_norms)
    coarse = head_clipped_sum(features.bfloat16().float(), targets, weights.bfloat16().float(), clip_norms)

    def distances(sums: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return (sums[0].double() - exact[0]).flatten(1).norm(dim=1), (sums[1].double() - exact[1]).abs()

    for distance, limit in zip(distances(found), bound, strict=True):
        assert (distance <= limit).all()
    totals, norms = distances(coarse)
    assert (totals > bound.totals).all()
    assert (norms > bound.norms).any()


@needs(X86, platform.machine() in ("x86_64", "AMD64"))
def test_plain_instructions_are_what_is_used(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    (switches,) = re.findall(r"^PLAIN := (.+)$", makefile, flags=re.MULTILINE)
    plain = dict(switch.split("=") for switch in switches.split())
    environment = {**os.environ, **plain, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    shown = subprocess.run([sys.executable, "-c", SHOWS], env=environment, capture_output=True, text=True).stdout
    assert "torch DEFAULT 2\n" in shown
    assert re.search(r"onednn_verbose.*cpu,isa:.*SSE4\.1", shown)
    assert re.search(r"MKL_VERBOSE.* CNR:COMPATIBLE", shown)


def test_every_numeric_part_is_there(repository: Path) -> None:
    assert [name for name in NUMERIC if not (repository / "tests" / name).exists()] == []


def test_continuous_integration_repeats_the_numeric_part(repository: Path) -> None:
    commands = (repository / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert commands[-2:] == ["make test </dev/null", "exec make test-portable </dev/null"]
