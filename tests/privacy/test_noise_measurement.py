"""Noise that is not what a plan says is noticed by measuring it, and honest noise and samples are not refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from dpmix.errors import PrivacyError
from dpmix.privacy.banded_plan import banded_plan
from dpmix.privacy.ledger import Ledger
from dpmix.privacy.noise import NoiseSource, SeededNoise
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import PoissonSampler
from tests.privacy.executed_runs import SHAPES, SIZES


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.calibrated(**SIZES, epsilon=3)


def test_honest_noise_is_never_refused() -> None:
    """Two thousand short runs, of one entry to hundreds."""
    random = np.random.default_rng(0)
    refused = 0
    for trial in range(2000):
        ledger = Ledger()
        size = int(random.integers(1, 300))
        ledger.add_noise(SeededNoise(trial), torch.zeros(size), 2.0, step=0, name="a")
        ledger.close_step(PoissonSampler(50, 0.1, trial).sample(0), 1.0)
        try:
            ledger.verify()
        except PrivacyError:
            refused += 1
    assert refused == 0


Lie = Callable[[torch.Tensor, SeededNoise, float, int, str], torch.Tensor]


def drawn(source: SeededNoise, shape: tuple[int, ...], std: float, step: int, name: str) -> torch.Tensor:
    return source.add(torch.zeros(shape), std, step=step, name=name)


def quiet_column(total: torch.Tensor, source: SeededNoise, std: float, step: int, name: str) -> torch.Tensor:
    noise = drawn(source, total.shape, std, step, name)
    if noise.dim() > 1:
        noise[:, -1] = 0
    return total + noise


def equal_rows(total: torch.Tensor, source: SeededNoise, std: float, step: int, name: str) -> torch.Tensor:
    """Of the energy that is expected, so that nothing but their likeness gives the rows away."""
    row = drawn(source, total.shape[-1:], std, step, name)
    return total + row * (std * len(row) ** 0.5 / row.norm()) * torch.ones_like(total)


NOISE_LIES: dict[str, tuple[Lie, str]] = {
    "none for one parameter": (
        lambda total, source, std, step, name: (
            total if name == "bias" else total + drawn(source, total.shape, std, step, name)
        ),
        "added to bias, or to a part of it, is too little",
    ),
    "half for one parameter": (
        lambda total, source, std, step, name: (
            total + drawn(source, total.shape, std, step, name) * (0.5 if name == "bias" else 1)
        ),
        "added to bias, or to a part of it, is too little",
    ),
    "none for one column": (quiet_column, "added to weight, or to a part of it, is too little"),
    "none in one step": (
        lambda total, source, std, step, name: (
            total if step == 7 else total + drawn(source, total.shape, std, step, name)
        ),
        "in some step is less",
    ),
    "the same every twenty steps": (
        lambda total, source, std, step, name: total + drawn(source, total.shape, std, step % 20, name),
        "repeats or cancels from step to step",
    ),
    "what cancels from step to step": (
        lambda total, source, std, step, name: total + (-1) ** step * drawn(source, total.shape, std, step // 2, name),
        "repeats or cancels from step to step",
    ),
    "the same for all rows": (equal_rows, "repeats or cancels within it"),
    "the same for two parameters": (
        lambda total, source, std, step, name: total + drawn(source, total.shape, std, step, "any"),
        "two parameters have had the same noise",
    ),
    "noise beside a sum that counts twice": (
        lambda total, source, std, step, name: 2 * total + drawn(source, total.shape, std, step, name),
        "goes with the sum",
    ),
}


class Lying:
    """A noise source that adds something else than it is asked for."""

    def __init__(self, lie: Lie) -> None:
        self.lie, self.source = lie, SeededNoise(3)

    def add(self, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:
        return self.lie(total, self.source, std, step, name)


def with_sums(plan: Plan, noise: NoiseSource, length: float = 0.5) -> Ledger:
    """A run whose sums have a given share of the length that their sample allows, in directions that vary."""
    ledger, random, sampler = Ledger(plan.noise_column), torch.Generator().manual_seed(0), plan.sampler(1)
    for step in range(plan.steps):
        sample = sampler.sample(step)
        sums = {name: torch.randn(shape, generator=random) for name, shape in SHAPES.items()}
        norm = torch.stack([one.square().sum() for one in sums.values()]).sum().sqrt()
        for name, one in sums.items():
            total = one / norm * length * len(sample.units) * plan.clip_norm
            ledger.add_noise(noise, total, plan.noise_std, step=step, name=name)
        ledger.close_step(sample, plan.sensitivity)
    return ledger


@pytest.mark.parametrize("lie", NOISE_LIES)
def test_a_noise_source_that_lies_is_refused(plan: Plan, lie: str) -> None:
    how, words = NOISE_LIES[lie]
    found = with_sums(plan, Lying(how))
    with pytest.raises(PrivacyError, match=words):
        found.certify(plan)


def test_a_banded_source_that_repeats_itself_is_refused() -> None:
    banded = banded_plan(**SIZES, epsilon=3, bands=4)
    with_sums(banded, banded.noise(3)).certify(banded)

    class Frozen:
        def add(self, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:
            return total + 3 * drawn(SeededNoise(3), total.shape, std, 0, name)

    with pytest.raises(PrivacyError, match="mend the noise source"):
        with_sums(banded, Frozen()).certify(banded)


def test_a_sum_longer_than_its_clipped_gradients_is_refused(plan: Plan) -> None:
    with_sums(plan, SeededNoise(3), 1.0).certify(plan)
    with pytest.raises(PrivacyError, match="a sum is longer than the clipped gradients"):
        with_sums(plan, SeededNoise(3), 1.01).certify(plan)


def test_honest_runs_are_refused_as_rarely_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a chance of 1/1000 for each of at most nine kinds of test, fewer than 27 of 300 runs (mean 2.7, p < 1e-16)."""
    for measured in ("noise", "sample"):
        monkeypatch.setattr(f"dpmix.privacy.{measured}_measurement.CHANCE", 1e-3)
    random = np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        plan = replace(
            Plan.make(population=60, batch_size=int(random.integers(1, 60)), epochs=1, clip_norm=1.0,
                      noise_multiplier=float(random.choice([1e-4, 1.0, 30.0])), delta=1e-5),
            steps=int(random.choice([1, 2, 9, 40])),
        )  # fmt: skip
        ledger = with_sums(plan, SeededNoise(trial), float(random.random()))
        try:
            ledger.verify()
        except PrivacyError:
            refused += 1
    assert refused < 27
