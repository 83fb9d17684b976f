"""DP-SGD from scratch on the views of Algorithm 1, and its microbatch variants (Tables 1, 2 and 5)."""

import functools
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from dpmix.experiment import Experiment
from dpmix.mixing import Views, make_microbatch_views, make_views
from dpmix.models.wide_resnet import wide_resnet
from dpmix.params import WideResNetSpec
from dpmix.privacy.clipping import ClippedSum, ExampleLoss, clipped_sum, explain_backend, zero_sum
from dpmix.privacy.modes import CLIPPING
from dpmix.privacy.noise import NoiseSource
from dpmix.privacy.physical import PhysicalBatches
from dpmix.privacy.plan import Ledger, Plan
from dpmix.privacy.sampling import microbatches
from dpmix.privacy.trials import refuse_mixing
from dpmix.random import KeyedRandom
from dpmix.training.averaging import update_average
from dpmix.training.checkpoint import Checkpoint
from dpmix.training.data import TrainingData, view_settings
from dpmix.training.loop import (
    count_correct,
    draw_sample,
    epoch_ends,
    noise_source,
    per_cent,
    physical_batches,
    remaining_steps,
)
from dpmix.training.outcome import Outcome
from dpmix.training.workers import ALONE, Workers

_EVALUATION_BATCH = 512


class _State:
    """Everything that the next step depends on, and what was measured so far."""

    def __init__(self, params: dict[str, Tensor], averaged: bool) -> None:
        self.step = 0
        self.params = params
        self.velocity = {name: torch.zeros_like(value) for name, value in params.items()}
        self.average = {name: value.clone() for name, value in params.items()} if averaged else {}
        self.ledger = Ledger()
        self.accuracies: list[float] = []
        self.longer = self.sampled = 0
        self.seconds = 0.0

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """What is evaluated and kept: the average if there is one."""
        return self.average or self.params

    def save(self, checkpoint: Checkpoint) -> None:
        groups = {"params": self.params, "velocity": self.velocity, "average": self.average}
        checkpoint.save(
            {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()},
            {
                "step": self.step,
                "ledger": self.ledger.to_json(),
                "accuracies": self.accuracies,
                "longer": self.longer,
                "sampled": self.sampled,
                "seconds": self.seconds,
            },
        )

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        for key, value in tensors.items():
            group, _, name = key.partition("/")
            # In place: the module reads these very tensors.
            getattr(self, group)[name].copy_(value)
        self.step, self.accuracies = values["step"], list(values["accuracies"])
        self.longer, self.sampled, self.seconds = values["longer"], values["sampled"], values["seconds"]
        self.ledger = Ledger.from_json(values["ledger"])


def train_from_scratch(
    experiment: Experiment,
    plan: Plan,
    data: TrainingData,
    *,
    device: str = "cpu",
    physical_batch: int = 64,
    backend: str = "auto",
    noise: NoiseSource | None = None,
    workers: Workers = ALONE,
    checkpoint: Checkpoint | None = None,
) -> Outcome:
    """Train a wide residual network with Eq. 4's noisy gradient and plain SGD.

    Args:
        experiment: what to train; its learning rate is a number.
        plan: sampling, sensitivity, noise and steps; executed to the letter.
        data: as `load_data` gives it.
        device: where the network and the views live.
        physical_batch: units (examples or microbatches) whose gradients are computed together; halved when memory
            runs out. The result does not depend on it beyond rounding.
        backend: of `clipped_sum`; which one is used is said on stderr.
        noise: where the Gaussian noise comes from; by default as `noise_source` says.
        workers: the processes that share the work; the result is that of one.
        checkpoint: where the state is kept while the run lasts, and taken up from if it is there.

    Raises:
        PrivacyError: if the network mixes examples in its forward pass.
    """
    assert isinstance(experiment.model, WideResNetSpec)
    assert isinstance(experiment.learning_rate, float)
    noise = noise or noise_source(experiment, plan)
    model = wide_resnet(experiment.model, experiment.dataset.channels, experiment.dataset.classes, experiment.seed)
    model = model.to(device).train()
    state = _State({name: value.detach() for name, value in model.named_parameters()}, experiment.ema_decay > 0)
    if checkpoint and (saved := checkpoint.load(device)):
        state.restore(*saved)
    started = time.perf_counter() - state.seconds
    loss = ExampleLoss(model)
    # A black image of the right shape: no record is looked at before the first noisy step.
    image = torch.zeros(data.private.images.shape[1:], device=device)
    refuse_mixing(model, image)
    mode, batches = CLIPPING[experiment.clipping], PhysicalBatches(physical_batch)
    if workers.leads:
        example = torch.zeros(1, view_settings(experiment).views, *image.shape, device=device)
        _say(f"clipped gradients: {explain_backend(model, example, backend)}")
    units = microbatches(plan.population, plan.microbatch_size, seed=0)
    ends = epoch_ends(plan.steps, experiment.epochs)
    label = f"{experiment.dataset.name} {experiment.method} ε={experiment.epsilon:g} seed {experiment.seed}"
    for step in remaining_steps(state.step, plan.steps, label, workers):
        chosen = draw_sample(experiment, plan, step, workers, device)
        total = zero_sum(state.params, plan.clip_norm, mode)

        def clipped(part: np.ndarray, step: int = step) -> ClippedSum:
            views = _views(experiment, data, units[part], step, device)
            return clipped_sum(
                loss,
                state.params,
                views.images,
                views.targets,
                plan.clip_norm,
                backend=backend,
                mode=mode,
                precision=experiment.precision,
            )

        for part_sum in batches.run(workers.share(chosen), clipped):
            total += part_sum
        longer = (total.norms > plan.clip_norm).sum()
        workers.add(*total.total.values(), longer)
        for name, value in state.params.items():
            noisy = total.total[name]
            if workers.leads:
                noisy = noise.add(noisy, plan.noise_std, step=step, name=name)
            direction = workers.agree(noisy) / plan.expected_units + experiment.weight_decay * value
            state.velocity[name].mul_(experiment.momentum).add_(direction)
            value -= experiment.learning_rate * state.velocity[name]
            if state.average:
                update_average(state.average[name], value, experiment.ema_decay, step)
        state.ledger.record(plan)
        state.longer += int(longer)
        state.sampled += len(chosen)
        state.step = step + 1
        if state.step in ends:
            state.accuracies.append(evaluate(model, state.weights, data, device, workers))
        state.seconds = time.perf_counter() - started
        if checkpoint and workers.leads and checkpoint.due and state.step < plan.steps:
            state.save(checkpoint)
    return Outcome(
        state.accuracies,
        state.ledger,
        experiment.learning_rate,
        round(state.longer / max(1, state.sampled), 6),
        state.seconds,
        weights=dict(state.weights),
    )


def _views(experiment: Experiment, data: TrainingData, units: np.ndarray, step: int, device: str) -> Views:
    settings = view_settings(experiment)
    if experiment.microbatch_size > 1:
        return make_microbatch_views(data.private, units, settings, experiment.seed, step, device)
    indices = units[:, 0]
    random = KeyedRandom(experiment.seed, step, indices)
    return make_views(data.private, indices, settings, random, data.mixed_in, device)


@functools.cache
def _say(line: str) -> None:
    """A line on stderr, once in a process: the runs of a job are alike."""
    print(line, file=sys.stderr, flush=True)


@torch.no_grad()
def evaluate(
    model: nn.Module, weights: Mapping[str, Tensor], data: TrainingData, device: str, workers: Workers = ALONE
) -> float:
    """Per cent of the evaluation images classified correctly, unaugmented."""
    everything = np.arange(len(data.evaluation))
    correct = torch.zeros((), dtype=torch.int64, device=device)
    for part in physical_batches(workers.share(everything), _EVALUATION_BATCH):
        batch = torch.from_numpy(np.array(data.evaluation.images[part])).to(device)
        predictions = functional_call(model, dict(weights), (batch.float() / 255,)).argmax(dim=1)
        correct += count_correct(predictions, data.evaluation.labels[part])
    workers.add(correct)
    return per_cent(int(correct), len(everything))
