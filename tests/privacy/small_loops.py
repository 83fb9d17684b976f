"""Loops small enough to look into: a linear model on twelve tiny images, under Opacus's optimizer and DPMix."""

import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from dpmix.adapters.opacus import DPMix
from dpmix.data.images import Images
from dpmix.privacy.plan import Plan
from dpmix.views.settings import ViewSettings
from tests.privacy import checks

TRAINERS = pytest.mark.parametrize("case", [checks.HEADS, checks.SCRATCH], ids=["heads", "scratch"])
CLASSES, SIDE = 3, 4
VIEWS = ViewSettings(k_base=2, k_self=1)


def plan(**changes: Any) -> Plan:
    values = {"population": 12, "batch_size": 6, "steps": 4, "clip_norm": 1.0, "noise_multiplier": 0.0, "delta": 1e-5}
    return Plan(**{**values, **changes})


def images(count: int, seed: int = 1) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.integers(1, 255, (count, 1, SIDE, SIDE)).astype(np.uint8)
    return Images(pixels, random.integers(0, CLASSES, count), tuple("abc"))


def linear() -> nn.Sequential:
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, CLASSES))
    with torch.no_grad():
        model[1].weight.copy_(torch.linspace(-0.3, 0.3, CLASSES * SIDE**2).view(CLASSES, -1))
        model[1].bias.zero_()
    return model


def opacus_loop(
    model: nn.Module, plan: Plan, data: Images, views: ViewSettings = VIEWS, **options: Any
) -> tuple[DPOptimizer, DPMix]:
    optimizer = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=1.0),
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.clip_norm,
        expected_batch_size=plan.batch_size,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optimizer, DPMix(model, optimizer, data, plan, views, **{"seed": 3, **options})


def finish(optimizer: DPOptimizer, mix: DPMix) -> Tensor:
    for batch in mix.batches():
        mix.backward(batch)
        optimizer.step()
        optimizer.zero_grad()
    return torch.cat([p.detach().flatten() for p in optimizer.params])


def plan_of(population: int, batch_size: int, epochs: float | Fraction) -> Plan:
    return Plan.make(
        population=population, batch_size=batch_size, epochs=epochs, clip_norm=1.0, noise_multiplier=1.0, delta=1e-5
    )
