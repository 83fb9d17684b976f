"""Runs of ModelMix over sums that are random numbers, with an update that may be broken in one way."""

from collections.abc import Callable

import torch
from torch import Tensor

from dpmix.privacy.ledger import Ledger
from dpmix.privacy.model_mix import MixingSource, MixRule, SeededMixing, mix
from dpmix.privacy.model_mix_plan import ModelMixPlan, model_mix_plan
from dpmix.privacy.noise import SeededNoise

PLAN = model_mix_plan(
    population=400, batch_size=80, epochs=4, clip_norm=0.5, epsilon=3, delta=1e-5, accountant="rdp", mix_width=0.05,
    truncation=100,
)  # fmt: skip
SHAPES = {"conv.weight": (20, 30), "norm.weight": (40,), "norm.bias": (40,)}
RATE = 0.4

# From the last two states, the noisy sum, α, the rule, the step and the parameter's name to the next state.
Step = Callable[[Tensor, Tensor, Tensor, Tensor, MixRule, int, str], Tensor]


def honest(last: Tensor, before: Tensor, noisy: Tensor, alpha: Tensor, rule: MixRule, step: int, name: str) -> Tensor:
    """Algorithm 1."""
    return mix(last, before, noisy, alpha, rule)


def mixed_run(
    plan: ModelMixPlan = PLAN,
    update: Step = honest,
    source: MixingSource | None = None,
    rule: Callable[[int], MixRule] | None = None,
    unmeasured: str = "",
    since: int = 0,
    largest: float | None = None,
) -> Ledger:
    """The ledger of a run of `plan`.

    Args:
        plan: what it is a run of.
        update: what it does with the states.
        source: of α; seeded by default.
        rule: what the update of each step says of itself; by default as planned.
        unmeasured: a parameter that is not mixed, nor said to be.
        since: the first step at which it is not.
        largest: the largest entry of clipped gradients, as the clipping mode says; by default the plan's C / sqrt(p).
    """
    said = MixRule(plan.mix_width * RATE, RATE, plan.expected_units)
    source, noise, sampler, ledger = source or SeededMixing(2), SeededNoise(3), plan.sampler(1), Ledger()
    # Norm layers begin alike in both states, as weights of 1 and biases of 0 do.
    draws = torch.Generator().manual_seed(0)
    last = {name: torch.randn(shape, generator=draws) * 0.1 for name, shape in SHAPES.items()}
    before = {name: value * 1.1 if "conv" in name else value.clone() for name, value in last.items()}
    for step in range(plan.steps):
        sample = sampler.sample(step)
        for name, shape in SHAPES.items():
            noisy = ledger.add_noise(noise, torch.zeros(shape), plan.noise_std, step=step, name=name)
            now = rule(step) if rule else said
            alpha = source.draw(shape, step=step, name=name)
            after = update(last[name], before[name], noisy, alpha, now, step, name)
            if name != unmeasured or step < since:
                ledger.measure_mixing(name, last[name], before[name], noisy, after, now)
            before[name], last[name] = last[name], after
        ledger.close_step(sample, plan.sensitivity, plan.clip_norm / 10 if largest is None else largest)
    return ledger
