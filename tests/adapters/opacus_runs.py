"""A small network, images and plan under Opacus's optimizer, for the tests of the adapter."""

from typing import Any

import numpy as np
import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from dpmix.adapters.opacus import Batch, DPMix
from dpmix.data.images import Images
from dpmix.privacy.plan import Plan
from dpmix.views.settings import ViewSettings

N, CLASSES, SIDE, SEED = 20, 3, 6, 5

VIEWS = ViewSettings(k_base=2, k_diff=1, k_self=2, transforms=("crop", "flip"), padding=1)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(4 * SIDE**2, CLASSES)
    )


def made(model: type[nn.Module] | Any = network, *args: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model(*args)


def images(count: int, seed: int = 1) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.integers(1, 255, (count, 1, SIDE, SIDE)).astype(np.uint8)
    return Images(pixels, random.integers(0, CLASSES, count), tuple("abc"))


def plan(**changes: Any) -> Plan:
    values = {"population": N, "batch_size": 8, "steps": 5, "clip_norm": 1.3, "noise_multiplier": 0.0, "delta": 1e-3}
    return Plan(**{**values, **changes})


def dp_optimizer(model: nn.Module, plan: Plan, learning_rate: float = 0.5, **changes: Any) -> DPOptimizer:
    settings = {
        "noise_multiplier": plan.noise_multiplier,
        "max_grad_norm": plan.clip_norm,
        "expected_batch_size": plan.batch_size,
    }
    return DPOptimizer(torch.optim.SGD(model.parameters(), lr=learning_rate), **{**settings, **changes})


def adapter(model: nn.Module, optimizer: DPOptimizer, plan: Plan, **options: Any) -> DPMix:
    settings = {"data": images(N), "views": VIEWS, "synthetic": images(7, seed=2), "seed": SEED, **options}
    return DPMix(model, optimizer, settings.pop("data"), plan, settings.pop("views"), **settings)


def turn(mix: DPMix, optimizer: DPOptimizer, batch: Batch) -> None:
    mix.backward(batch)
    optimizer.step()
    optimizer.zero_grad()


def train(mix: DPMix, optimizer: DPOptimizer) -> DPMix:
    for batch in mix.batches():
        turn(mix, optimizer, batch)
    return mix


def run(
    run_plan: Plan | None = None, model: nn.Module | None = None, learning_rate: float = 0.5, **options: Any
) -> tuple[Tensor, DPMix]:
    """Train to the end: the weights, flat, and the adapter."""
    run_plan, model = run_plan or plan(), model or made()
    optimizer = dp_optimizer(model, run_plan, learning_rate)
    mix = train(adapter(model, optimizer, run_plan, **options), optimizer)
    return weights(model), mix


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


def gradients(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()]).clone()
