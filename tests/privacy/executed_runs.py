"""Runs whose sums are zero, with a noise source and a sampler of the test's own."""

import torch

from dpmix.privacy.ledger import Ledger
from dpmix.privacy.noise import NoiseSource
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import Sampler

SIZES = {"population": 400, "batch_size": 80, "epochs": 8, "clip_norm": 0.5, "delta": 1e-5}
SHAPES = {"weight": (20, 30), "bias": (20,)}


def executed(plan: Plan, noise: NoiseSource, sampler: Sampler, steps: int | None = None, std: float = 1.0) -> Ledger:
    """A run of `plan` over sums that are zero, with noise asked for at `std` of what is planned."""
    ledger = Ledger(plan.noise_column)
    for step in range(plan.steps if steps is None else steps):
        sample = sampler.sample(step)
        for name, shape in SHAPES.items():
            ledger.add_noise(noise, torch.zeros(shape), plan.noise_std * std, step=step, name=name)
        ledger.close_step(sample, plan.sensitivity)
    return ledger
